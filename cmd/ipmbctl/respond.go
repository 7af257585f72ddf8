package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
)

func (a *app) respondCommand() *cobra.Command {
	var flags respondFlags
	command := &cobra.Command{
		Use: `respond NETFN CMD [DATA...]
  ipmbctl respond NETFN CMD... --exec PROGRAM`,
		Short: "Answer requests that come in",
		Long: `Answer requests that come in, until Ctrl-C, and show each: with the same completion
code and data, or as a program says. NETFN and CMD are names or numbers, and 'all'
is every command; DATA are numbers, one for each byte, written 44, 0x2C or 2Ch.
Commands that somebody answers already are refused.

With --exec the shell runs PROGRAM for each request, up to four at a time. The
request's data are on its standard input, in two hex digits a byte. It prints the
answer in the same way: completion code and data. When it fails, the answer is FFh;
when it is too slow, C3h. The rest of the request is in its environment, in hex:

  IPMI_NETFN, IPMI_CMD, IPMI_LUN  what is asked
  IPMI_CHANNEL, IPMI_INTERFACE    the channel, and the name of the bus
  IPMI_REQUESTER                  who asks, an 8-bit address; 00 is a host

Data of network functions 2Ch and 2Eh begin with the group or the IANA number, in
requests and in answers. Data that may be a password or a key are not shown.`,
		Example: `  ipmbctl respond app get-device-id 0x20 1 4 0 2 0x21 0x57 1 0 11 11
  ipmbctl respond --code C1h app cold-reset
  ipmbctl respond --channels 0,6 0x30 all --exec ./answer.sh
  ipmbctl respond --group DCh 0x2C 1 --exec 'echo 00 dc 01 05 02'
  ipmbctl respond --iana 0x157 0x2E all --exec ./intel.sh --quiet`,
		ValidArgsFunction: completeCommands,
		RunE: func(command *cobra.Command, args []string) error {
			return a.respond(command.Context(), args, flags)
		},
	}
	f := command.Flags()
	f.StringVar(&flags.code, "code", "", "completion `CODE` of the answer (default 00h)")
	f.StringVar(&flags.channels, "channels", "", "IPMI channels to answer, a `LIST`: 0,6 (default all)")
	f.StringVar(&flags.group, "group", "", "body `CODE` of network function 2Ch (default all)")
	f.StringVar(&flags.iana, "iana", "", "IANA `NUMBER` of network function 2Eh (default all)")
	f.StringVar(&flags.exec, "exec", "", "`PROGRAM` that makes the answers, for the shell")
	f.DurationVar(&flags.timeout, "timeout", 0, "how long the program may take: 10ms to 5s (default 4s)")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "do not show the requests")
	return command
}

func (a *app) respond(ctx context.Context, words []string, flags respondFlags) error {
	patterns, answer, err := flags.parse(words)
	if err != nil {
		return err
	}
	r := &responder{app: a, lines: newLines(), quiet: flags.quiet}
	r.handler = ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return answer, nil })
	if flags.exec != "" {
		r.program = newProgram(flags.exec, flags.timeout, a.stderr)
		r.handler = r.program
	}
	err = r.run(ctx, patterns)
	if errors.Is(err, dbusapi.ErrNotAllowed) {
		return &takenError{err}
	}
	return err
}

func patternsText(patterns []ipmi.Pattern) string {
	var texts []string
	for _, p := range patterns {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// takenError is that somebody else answers the requests.
type takenError struct{ error }

// Unwrap is the cause.
func (e *takenError) Unwrap() error { return e.error }

// responder shows the requests that a handler answers. It implements
// ipmi.Handler.
type responder struct {
	app     *app
	handler ipmi.Handler
	program *program // if it is one
	lines   *lines
	quiet   bool
}

// run answers requests until ctx ends or nobody reads what is shown.
func (r *responder) run(ctx context.Context, patterns []ipmi.Pattern) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var shower sync.WaitGroup
	shower.Go(func() {
		if r.lines.show(r.showEvent) != nil {
			stop()
		}
	})
	defer shower.Wait()
	defer r.lines.close() // Serve has waited for all requests.
	if r.program != nil {
		defer r.program.start(ctx)()
	}
	tell := r.app.teller("answering "+patternsText(patterns)+"; Ctrl-C ends it", r.showEvent)
	return r.app.withClient(ctx, func(client *dbusapi.Client) error {
		return client.Serve(ctx, patterns, r, func(e dbusapi.Event) {
			r.lines.add(func() error { return tell(e) })
		})
	})
}

// ServeIPMI hands the request on and shows the answer.
func (r *responder) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	r.handler.ServeIPMI(req, ipmi.ReplyFunc(func(response ipmi.Response, err error) bool {
		if err != nil {
			response = ipmi.Response{Code: ipmi.CodeOf(err)}
		}
		r.show(req, response, err)
		return reply.Answer(response, nil)
	}))
}

// show shows an answer, and the error that has become one, unless it is that of the end.
func (r *responder) show(req *ipmi.Request, response ipmi.Response, err error) {
	if err != nil && !errors.Is(err, ipmi.ErrAbandoned) {
		r.lines.add(func() error {
			r.app.note("%v", err)
			return nil
		})
	}
	if r.quiet {
		return
	}
	now := time.Now()
	response.Data = bytes.Clone(response.Data)
	r.lines.add(func() error { return r.app.showAnswered(now, req, response) })
}

// showEvent shows that ipmbd has stopped or started, or that lines are lost.
func (r *responder) showEvent(e dbusapi.Event) error {
	if r.quiet {
		return nil
	}
	return r.app.showEvent(e)
}

func (a *app) showAnswered(now time.Time, req *ipmi.Request, response ipmi.Response) error {
	if a.json {
		return a.out.json(newAnsweredJSON(now, req, response))
	}
	c := a.colourFor(a.stdout)
	fmt.Fprintf(a.out, "%s  %s\n", c.paint(dim, now.Format(clock)), answeredText(c, req, response))
	return a.out.err
}

// answeredText is a request and its answer on a line, without the time.
func answeredText(c colour, req *ipmi.Request, response ipmi.Response) string {
	secret := carriesSecret(req, response)
	words := []string{fmt.Sprintf("%-6s <- %-3s  %s", orUnknown(req.Interface), requesterText(req.Requester), commandName(req.NetFn, req.Command))}
	if req.LUN != 0 {
		words = append(words, fmt.Sprintf("LUN %d", req.LUN))
	}
	if secret {
		words = append(words, "(data not shown)")
	} else if len(req.Data) > 0 {
		words = append(words, hexBytes(req.Data))
	}
	code := codeCell(req.NetFn, req.Command, response.Code)
	words = append(words, "-> "+c.paint(code.sgr, code.text))
	if !secret && len(response.Data) > 0 {
		words = append(words, hexBytes(response.Data))
	}
	return strings.Join(words, "  ")
}

// carriesSecret reports whether a request or its answer is not to be shown.
func carriesSecret(req *ipmi.Request, response ipmi.Response) bool {
	return ipmi.CarriesSecret(req.NetFn, req.Command, req.Data) ||
		ipmi.CarriesSecret(req.NetFn.Response(), req.Command, response.Data)
}

// requesterText is the address of who asks.
func requesterText(a ipmi.Address) string {
	if a == 0 {
		return "host" // over a system interface
	}
	return a.String()
}

// answeredJSON is one line of respond.
type answeredJSON struct {
	Time      string   `json:"time"`
	Kind      string   `json:"kind"`
	Bus       string   `json:"bus"`
	Channel   uint8    `json:"channel"`
	Requester uint8    `json:"requester"`
	NetFn     uint8    `json:"netFn"`
	LUN       uint8    `json:"lun"`
	Command   uint8    `json:"command"`
	Name      string   `json:"name"`
	Request   byteList `json:"requestData"`
	answerJSON
	Secret bool `json:"secret,omitempty"`
}

func newAnsweredJSON(now time.Time, req *ipmi.Request, response ipmi.Response) answeredJSON {
	document := answeredJSON{
		Time: now.Format(time.RFC3339Nano), Kind: "answered",
		Bus: req.Interface, Channel: uint8(req.Channel), Requester: uint8(req.Requester),
		NetFn: uint8(req.NetFn), LUN: uint8(req.LUN), Command: uint8(req.Command), Name: commandName(req.NetFn, req.Command),
		Request: req.Data, Secret: carriesSecret(req, response),
	}
	if document.Secret {
		document.Request, response.Data = nil, nil
	}
	document.answerJSON = newAnswerJSON(req.NetFn, req.Command, response)
	return document
}
