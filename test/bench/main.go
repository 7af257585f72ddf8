package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	ipmbd  string
	before string         // another build of the daemon, "" for none
	broker string         // dbus-broker, "" for none
	guest  string         // the folder that test/guest/x86/build has made, "" for none
	only   *regexp.Regexp // the parts that are measured
	rounds int
	quick  bool

	programs string // the folder of the C programs
}

// Lengths of a round. Many short rounds side by side cancel more of the machine's other load than
// a few long ones. A quick round only shows that everything works.
const (
	roundTime   = 400 * time.Millisecond
	quickTime   = 50 * time.Millisecond
	settleShare = 4 // a fourth of a round goes before it, unmeasured
)

func (o options) roundTime() time.Duration {
	if o.quick {
		return quickTime
	}
	return roundTime
}

func (o options) pace() pace {
	return pace{settle: o.roundTime() / settleShare, measure: o.roundTime()}
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{only: regexp.MustCompile("")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.ipmbd, "ipmbd", "bin/ipmbd", "the daemon's `program`")
	flags.StringVar(&o.before, "before", "", "another build of the daemon, a `program`: measures both side by side")
	flags.StringVar(&o.broker, "broker", "", "the `program` dbus-broker: measures the main rows on it, too")
	flags.StringVar(&o.guest, "guest", "", "the `folder` that test/guest/x86/build prints: measures in virtual machines, too")
	flags.Func("run", "only the parts that match a `regexp`, of code, vm, guests, main, before, variants, many, slow", func(s string) (err error) {
		o.only, err = regexp.Compile(s)
		return err
	})
	flags.IntVar(&o.rounds, "rounds", 11, "`rounds` of 0.4 s for each row")
	flags.BoolVar(&o.quick, "quick", false, "one short round: shows that everything works, measures nothing")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.rounds < 1 {
		return o, errors.New("no arguments, and at least one round")
	}
	if o.quick {
		o.rounds = 1
	}
	return o, nil
}

// run is the program: its exit code is returned.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if isPart(args) {
		return exitCode(parts[args[0]](args[1:]), stderr)
	}
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	err = measureAll(ctx, o, stdout)
	if ctx.Err() != nil {
		err = errInterrupted // before any other error
	}
	return exitCode(err, stderr)
}

var errInterrupted = errors.New("interrupted")

func exitCode(err error, stderr io.Writer) int {
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}
