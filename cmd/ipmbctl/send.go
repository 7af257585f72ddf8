package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

type sendFlags struct {
	retryFlags
	addr              string
	lun, requesterLUN uint8
	failFast          bool
	broadcast         bool
	quiet, verbose    bool
	keepGoing         bool

	typed string // the options that were given, as words for a shell
	where string // the line of standard input, for messages
}

func (a *app) sendCommand() *cobra.Command {
	var flags sendFlags
	command := &cobra.Command{
		Use: `send BUS [ADDR] NETFN CMD [DATA...]
  ipmbctl send [BUS [ADDR]] -`,
		Short: "Send a request to a node on a bus and show the response",
		Long: `Send a request to a node on a bus and show the response: its completion code, its
data and, for Get Device ID, what the data mean.

ADDR is the node's address in its 8-bit form. Without ADDR the request goes to the
bus's remote address, which 'ipmbctl list' shows. NETFN and CMD are names or numbers.
DATA are numbers, one for each byte. A number is written 44, 0x2C or 2Ch.

The first word after BUS is ADDR if it is an even number of 10h to EEh, and NETFN and
CMD follow: 0x2c 6 1 is Get Device ID to 2Ch. A number of 2Ch or more can also be NETFN.
It is NETFN if the words behind it are no command of the standard. A line with two
possible meanings, such as 0x30 6 1, is refused, with a command for each. Network
function 2Ch counts as possible only before the code of PICMG, SSI, VITA or DCMI, and
2Eh only before three bytes of an IANA number. With --addr there is no ADDR among the
words; --addr 0 is the bus's remote address.

With - as the last word, each line of standard input has the words that follow, options
too. The requests are sent one after the other, on one connection to ipmbd; each waits for
the response to the one before. Empty lines, and what follows a #, are ignored. A line
with an error, or a request without a response, ends the command, unless --keep-going is
given; completion codes end nothing. The exit code is that of the first error, else 3 if a
completion code was not 0. --quiet writes one line for each response.

With --verbose the command shows the frames on the bus, from the address of their receiver
to the checksum; how often the request was sent (tries); and the time from the call to the
response (round trip).`,
		Example: `  ipmbctl send bus0 app get-device-id
  ipmbctl send bus0 0x20 app get-device-id
  ipmbctl send bus0 0x06 0x01
  ipmbctl send bus0 72h storage get-sdr 0 0 0 0 0 0xff
  ipmbctl send bus0 --addr 2Ch 0x2e 0xdf 0x57 0x01 0x00
  ipmbctl send bus0 --timeout 1 --tries 1 chassis get-chassis-status
  ipmbctl send - <requests.txt
  echo app get-device-id | ipmbctl send bus0 0x2c - --quiet`,
		Args:              needBus(0),
		ValidArgsFunction: a.completeSend,
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		flags.typed = typedOptions(command.Flags())
		return a.send(command.Context(), args, flags)
	}
	flags.define(command.Flags())
	return command
}

// define adds the options, whose defaults are the values of f.
func (f *sendFlags) define(flags *pflag.FlagSet) {
	f.retryFlags.define(flags)
	flags.StringVar(&f.addr, "addr", f.addr, "`ADDR` of the node; 0 is the bus's remote address")
	flags.Uint8Var(&f.lun, "lun", f.lun, "`LUN` of the responder, 0 to 3")
	flags.Uint8Var(&f.requesterLUN, "requester-lun", f.requesterLUN, "`LUN` of the requester, 0 to 3")
	flags.BoolVar(&f.failFast, "fail-fast", f.failFast, "give up at once if no node acknowledges the request")
	flags.BoolVar(&f.broadcast, "broadcast", f.broadcast, "send to all nodes, and ADDR responds (Get Device ID only)")
	flags.BoolVarP(&f.quiet, "quiet", "q", f.quiet, "write the data of the response only, in hex")
	flags.BoolVarP(&f.verbose, "verbose", "v", f.verbose, "show the frames, the number of tries, and the round trip")
	flags.BoolVar(&f.keepGoing, "keep-going", f.keepGoing, "with -, send the next request after an error")
}

// typedOptions are the options that were given, as words for a shell.
func typedOptions(flags *pflag.FlagSet) string {
	plain := regexp.MustCompile(`^[\w.,:=/-]*$`)
	var words strings.Builder
	flags.Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		if !plain.MatchString(value) {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		if f.Value.Type() == "bool" && value == "true" {
			fmt.Fprintf(&words, "--%s ", f.Name)
			return
		}
		fmt.Fprintf(&words, "--%s=%s ", f.Name, value)
	})
	return words.String()
}

// request makes the request to a bus from the words after BUS.
func (f sendFlags) request(bus string, words []string) (ipmb.Request, error) {
	r, err := parseRequest(words, f.addr)
	if err != nil {
		all := strings.Join(words, " ")
		return r, advise(err, errAmbiguous, fmt.Sprintf(`for the address:           ipmbctl send %[1]s %[2]s--addr %[3]s
for the network function:  ipmbctl send %[1]s %[2]s--addr 0 %[3]s
where 0 is the bus's remote address`, bus, f.typed, all))
	}
	if f.lun > uint8(ipmi.MaxLUN) || f.requesterLUN > uint8(ipmi.MaxLUN) {
		return r, usage("LUNs are 0 to %d", ipmi.MaxLUN)
	}
	r.LUN, r.RequesterLUN = ipmi.LUN(f.lun), ipmi.LUN(f.requesterLUN)
	r.FailFast, r.GeneralCall = f.failFast, f.broadcast
	r.RetryPolicy, err = f.policy()
	return r, err
}

func (a *app) send(ctx context.Context, args []string, flags sendFlags) error {
	last := len(args) - 1
	fromInput := args[last] == "-"
	switch {
	case flags.quiet && (a.json || flags.verbose):
		return usage("--quiet is not for --json and --verbose")
	case flags.keepGoing && !fromInput:
		return usage("--keep-going is for requests from standard input: -")
	case fromInput:
		return a.withClient(ctx, func(ipmbd *client.Client) error {
			return a.sendLines(ctx, ipmbd, args[:last], flags)
		})
	}
	request, err := flags.request(args[0], args[1:])
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(ipmbd *client.Client) error {
		return a.sendRequest(ctx, ipmbd, args[0], request, flags)
	})
}

// sendLines sends a request for each line of standard input. The words of a line follow those of
// the command line.
func (a *app) sendLines(ctx context.Context, ipmbd *client.Client, words []string, flags sendFlags) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first, code error // the first error; that a completion code was not 0
	lines := a.readLines(ctx)
	for number := 1; ; number++ {
		var line inputLine
		var more bool
		select {
		case line, more = <-lines:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !more {
			break
		}
		flags.where = fmt.Sprintf("line %d: ", number)
		err := line.err
		if err == nil {
			err = a.sendLine(ctx, ipmbd, words, line.text, flags)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, errBadCode):
			code = err
			continue
		}
		err = fmt.Errorf("%s%w", flags.where, err)
		if !flags.keepGoing || ctx.Err() != nil || line.err != nil || a.out.err != nil {
			return err
		}
		a.complain(a.report(err))
		first = cmp.Or(first, error(shownError{err}))
	}
	return cmp.Or(first, code)
}

// sendLine sends the request of a line.
func (a *app) sendLine(
	ctx context.Context, ipmbd *client.Client, words []string, line string, flags sendFlags,
) error {
	line, _, _ = strings.Cut(line, "#")
	if strings.TrimSpace(line) == "" {
		return nil
	}
	options := pflag.NewFlagSet("line", pflag.ContinueOnError)
	options.SetOutput(io.Discard)
	flags.define(options)
	switch err := options.Parse(strings.Fields(line)); {
	case errors.Is(err, pflag.ErrHelp):
		return usage("a line has no --help")
	case err != nil:
		return usageError{flagError(err)}
	}
	flags.typed += typedOptions(options)
	words = append(words[:len(words):len(words)], options.Args()...)
	if len(words) == 0 {
		return usage("no bus")
	}
	request, err := flags.request(words[0], words[1:])
	if err != nil {
		return err
	}
	return a.sendRequest(ctx, ipmbd, words[0], request, flags)
}

// sendRequest sends a request and shows the response.
func (a *app) sendRequest(
	ctx context.Context, ipmbd *client.Client, name string, request ipmb.Request, flags sendFlags,
) error {
	bus, err := ipmbd.Bus(ctx, name)
	if err != nil {
		return err
	}
	if request.Responder == 0 {
		request.Responder = bus.RemoteAddress
	}
	begin := time.Now()
	var response ipmi.Response
	var trace *client.Trace
	if flags.verbose {
		trace = new(client.Trace)
		response, *trace, err = ipmbd.SendTraced(ctx, bus.Name, request)
	} else {
		response, err = ipmbd.Send(ctx, bus.Name, request)
	}
	took := time.Since(begin)
	if err != nil {
		if trace != nil && !a.json {
			_ = a.show(nil, a.colour.table(traceRows(*trace, took))) // an error comes again
		}
		return explainError(ctx, ipmbd, bus, request.Responder, err)
	}
	if a.responses++; a.responses > 1 && !a.json && !flags.quiet {
		_ = a.show(nil, "\n") // between two responses; an error comes again
	}
	if flags.quiet {
		err = a.show(nil, hexBytes(response.Data)+"\n")
	} else {
		err = a.showResponse(bus.Name, request, response, trace, took)
	}
	if err != nil || response.Code == ipmi.CodeOK {
		return err
	}
	if flags.quiet {
		meaning := codeCell(request.NetFn, request.Command, response.Code).text
		a.note("%s%s %s: %s", flags.where, bus.Name, request.Responder, meaning)
	}
	return errBadCode
}

type sendJSON struct {
	Bus       string `json:"bus"`
	Responder uint8  `json:"responder"`
	commandJSON
	responseJSON
	Milliseconds float64 `json:"milliseconds"`
	*traceJSON
}

// traceJSON is in the document with --verbose.
type traceJSON struct {
	Request  []uint16 `json:"requestFrame"`
	Response []uint16 `json:"responseFrame"`
	Tries    int      `json:"tries"`
}

// traceRows show how a request went.
func traceRows(t client.Trace, took time.Duration) [][]cell {
	rows := [][]cell{row("frames", "not known: the request was not sent, or Linux's driver sent it")}
	if t.Writes > 0 {
		rows = dataRows("request frame", t.Request)
		if t.Response != nil {
			rows = append(rows, dataRows("response frame", t.Response)...)
		}
		rows = append(rows, row("tries", fmt.Sprint(t.Writes)))
	}
	return append(rows, row("round trip", fmt.Sprintf("%.1f ms", milliseconds(took))))
}

func (a *app) showResponse(
	bus string, r ipmb.Request, response ipmi.Response, trace *client.Trace, took time.Duration,
) error {
	rows := [][]cell{
		row("request", fmt.Sprintf("%s %s", r.Responder, commandName(r.NetFn, r.Command))),
		{{text: "completion code"}, codeCell(r.NetFn, r.Command, response.Code)},
	}
	rows = append(rows, dataRows("data", response.Data)...)
	if device, ok := deviceOf(r.NetFn, r.Command, response); ok {
		rows = append(rows, deviceRows(device)...)
	}
	document := sendJSON{
		Bus: bus, Responder: uint8(r.Responder), commandJSON: newCommandJSON(r.NetFn, r.LUN, r.Command),
		responseJSON: newResponseJSON(r.NetFn, r.Command, response), Milliseconds: milliseconds(took),
	}
	if trace != nil {
		document.traceJSON = &traceJSON{numbers(trace.Request), numbers(trace.Response), trace.Writes}
		rows = append(rows, traceRows(*trace, took)...)
	}
	return a.show(document, a.colour.table(rows))
}
