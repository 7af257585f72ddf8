// Command ipmbctl shows and uses the buses that ipmbd serves.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
)

// version is set when the program is linked.
var version = "unknown"

// environment is everything outside of the program that a run uses.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	isTerminal     func(any) bool // a reader or a writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], environment{os.Stdin, os.Stdout, os.Stderr, os.Getenv, isTerminal})
	stop()
	os.Exit(code)
}

// app is one run of the program.
type app struct {
	environment
	out     *output
	colour  colour // of standard output
	address string // of the message bus
	json    bool
	started bool // the command line was accepted
	// responses is how many responses send has shown.
	responses int
	// startNote is printed instead of the first notice ServiceStarted.
	startNote string
}

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	a := &app{environment: env, out: &output{w: env.stdout}, colour: env.colourFor(env.stdout)}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(env.stderr)
	command, err := root.ExecuteContextC(ctx)
	if !a.started { // A wrong word may stand before --json.
		a.json = a.json || slices.Contains(args, "--json")
	}
	return a.exitCode(command, err)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ipmbctl",
		Short: "Show and use the IPMB buses that ipmbd serves",
		Long: `ipmbctl shows and uses the IPMB buses that ipmbd serves on D-Bus.

Addresses are in their 8-bit form: 20h is the node whose 7-bit address is 10h. A
number is written 44, 0x2C or 2Ch.

With --json, standard output has a document for each result. Standard error then has
{"error": ...} for an error, with its kind and exit code, and {"note": ...} for a remark.

Exit codes:

` + statusTable(),
		Example: `  ipmbctl list
  ipmbctl send bus0 app get-device-id
  ipmbctl send bus0 72h --tries 1 storage get-sel-info
  ipmbctl scan bus0
  ipmbctl sel list
  ipmbctl monitor bus0
  ipmbctl respond --code C1h app cold-reset
  ipmbctl events`,
		Version:          version,
		Args:             needCommand("no command; 'ipmbctl list' shows the buses"),
		RunE:             func(*cobra.Command, []string) error { return nil },
		PersistentPreRun: func(*cobra.Command, []string) { a.started = true },
		SilenceErrors:    true,
		SilenceUsage:     true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.SetVersionTemplate("ipmbctl {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.address, "dbus", client.SystemBus, "message bus: system, session or a D-Bus `ADDRESS`")
	flags.StringVar(&a.address, "bus", client.SystemBus, "") // as it was called before
	_ = flags.MarkHidden("bus")
	flags.BoolVar(&a.json, "json", false, "write JSON, one document per line")
	root.AddCommand(a.listCommand(), a.infoCommand(), a.sendCommand(), a.scanCommand(), a.selCommand(),
		a.monitorCommand(), a.handlersCommand(), a.respondCommand(), a.eventsCommand(), a.bindCommand(),
		a.unbindCommand(), a.addCommand(), a.removeCommand(), a.reloadCommand())
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		if command.Name() == "help" { // Of cobra; it takes any words.
			command.Args = func(_ *cobra.Command, args []string) error {
				if at, rest, err := root.Find(args); err != nil || at == nil || len(rest) > 0 {
					return usage("no command %q", strings.Join(args, " "))
				}
				return nil
			}
		}
		if command.ValidArgsFunction == nil {
			command.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	return root
}

// needCommand refuses a command line that names no command below its parent, or an unknown one.
func needCommand(missing string) cobra.PositionalArgs {
	return func(parent *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s", missing)
		}
		hint := ""
		parent.SuggestionsMinimumDistance = 2 // typing errors
		if near := parent.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "; did you mean " + strings.Join(near, ", ") + "?"
		}
		return usage("no command %q%s", args[0], hint)
	}
}

// withClient calls do with a connection to the message bus.
func (a *app) withClient(ctx context.Context, do func(*client.Client) error) error {
	ipmbd, err := client.Open(ctx, a.address)
	if err != nil {
		return err
	}
	defer ipmbd.Close()
	return do(ipmbd)
}

// connected returns the RunE of a command that begins with a connection to the message bus.
func (a *app) connected(
	do func(ctx context.Context, ipmbd *client.Client, args []string) error,
) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		return a.withClient(command.Context(), func(ipmbd *client.Client) error {
			return do(command.Context(), ipmbd, args)
		})
	}
}

// withFlags returns the RunE of a command that reads its flags and arguments before it connects.
func withFlags[F any](
	flags *F, do func(context.Context, []string, F) error,
) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error { return do(command.Context(), args, *flags) }
}
