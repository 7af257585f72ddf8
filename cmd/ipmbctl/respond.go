package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

type respondFlags struct {
	code, channels string
	group, iana    string
	exec           string
	timeout        time.Duration
	quiet          bool
}

const (
	// Times for the program of --exec. ipmbd stops waiting after five seconds.
	respondTimeout    = 4 * time.Second
	maxRespondTimeout = 5 * time.Second

	maxLines     = 256   // that wait for standard output
	everyCommand = "all" // commands of a network function
)

func (a *app) respondCommand() *cobra.Command {
	var flags respondFlags
	command := &cobra.Command{
		Use: `respond NETFN CMD [DATA...]
  ipmbctl respond NETFN CMD... --exec PROGRAM`,
		Short: "Respond to incoming requests",
		Long: `Respond to incoming requests until Ctrl-C, and show each: with a fixed completion code
and data, or with the output of a program. NETFN and CMD are names or numbers; 'all' is
every command. DATA are numbers, one for each byte, written 44, 0x2C or 2Ch. Commands that
another program serves are refused.

With --exec the shell runs PROGRAM for each request, up to four at a time. Standard input
holds the data of the request, each byte as two hex digits. The program prints the
response in the same form: completion code and data. If the program fails, the completion
code is FFh; if it is too slow, C3h. The environment describes the request, in hex:

  IPMI_NETFN, IPMI_CMD, IPMI_LUN  network function, command and LUN
  IPMI_CHANNEL, IPMI_INTERFACE    the channel, and the name of the bus
  IPMI_REQUESTER                  the requester's 8-bit address; 00 is a host

Data of the network functions 2Ch and 2Eh begin with the group or the IANA number, in
requests and in responses. Data that may hold a password or a key are not shown.`,
		Example: `  ipmbctl respond app get-device-id 0x20 1 4 0 2 0x21 0x57 1 0 11 11
  ipmbctl respond --code C1h app cold-reset
  ipmbctl respond --channels 0,6 0x30 all --exec ./answer.sh
  ipmbctl respond --group DCh 0x2C 1 --exec 'echo 00 dc 01 05 02'
  ipmbctl respond --iana 0x157 0x2E all --exec ./intel.sh --quiet`,
		ValidArgsFunction: completeRespond,
		RunE:              withFlags(&flags, a.respond),
	}
	f := command.Flags()
	f.StringVar(&flags.code, "code", "", "completion `CODE` of the response (default 00h)")
	f.StringVar(&flags.channels, "channels", "", "IPMI channels to serve, a `LIST`: 0,6 (default all)")
	f.StringVar(&flags.group, "group", "", "body `CODE` of network function 2Ch (default all)")
	f.StringVar(&flags.iana, "iana", "", "IANA `NUMBER` of network function 2Eh (default all)")
	f.StringVar(&flags.exec, "exec", "", "`PROGRAM` that makes the responses, for the shell")
	f.Var((*seconds)(&flags.timeout), "timeout", "`TIME` that the program may take, 10ms to 5s: 2 or 2s, 500ms (default 4s)")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "do not show the requests")
	return command
}

// parse reads NETFN CMD [DATA...] or, with --exec, NETFN CMD...: the requests to serve and,
// without --exec, the response.
func (f respondFlags) parse(words []string) ([]ipmi.Pattern, ipmi.Response, error) {
	var response ipmi.Response
	n, words, err := parseNetFn(words)
	if err != nil {
		return nil, response, err
	}
	commands := words
	if f.exec == "" {
		commands = words[:1]
		response.Data, err = parseData(words[1:])
	}
	if err == nil && f.code != "" {
		code, codeErr := parseByte(f.code)
		if codeErr != nil {
			err = fmt.Errorf("--code: %w", codeErr)
		}
		response.Code = ipmi.CompletionCode(code)
	}
	switch {
	case err != nil:
	case f.exec != "" && f.code != "":
		err = usage("--code and --exec: the program says the completion code")
	case f.exec == "" && f.timeout != 0:
		err = usage("--timeout is for --exec")
	case f.timeout != 0 && (f.timeout < ipmb.MinTimeout || f.timeout > maxRespondTimeout):
		err = usage("--timeout is %v to %v: ipmbd waits no longer", ipmb.MinTimeout, maxRespondTimeout)
	}
	if err != nil {
		return nil, response, err
	}
	patterns, err := f.patterns(n, commands)
	return patterns, response, err
}

// patterns makes a pattern for each command.
func (f respondFlags) patterns(n ipmi.NetFn, commands []string) ([]ipmi.Pattern, error) {
	channels, err := parseChannels(f.channels)
	if err != nil {
		return nil, err
	}
	group, err := f.parseGroup(n)
	if err != nil {
		return nil, err
	}
	var patterns []ipmi.Pattern
	for _, word := range commands {
		command := ipmi.AnyCommand
		if word != everyCommand {
			if command, err = ipmi.ParseCommand(n, word); err != nil {
				return nil, usageError{err}
			}
		}
		patterns = append(patterns, ipmi.Pattern{Channels: channels, NetFn: n, Command: command, Group: group})
	}
	return patterns, nil
}

// parseChannels reads a list of channels. An empty list means all channels.
func parseChannels(list string) (ipmi.ChannelMask, error) {
	if list == "" {
		return ipmi.AllChannels, nil
	}
	var mask ipmi.ChannelMask
	for word := range strings.SplitSeq(list, ",") {
		channel, err := parseByte(word)
		switch {
		case err != nil:
			return 0, fmt.Errorf("--channels: %w", err)
		case ipmi.Channel(channel) > ipmi.ChannelSystemInterface:
			return 0, usage("--channels: channels are 0 to %d", ipmi.ChannelSystemInterface)
		}
		mask |= ipmi.Channel(channel).Mask()
	}
	return mask, nil
}

// parseGroup reads --group or --iana, each of which is for one network function.
func (f respondFlags) parseGroup(n ipmi.NetFn) (uint32, error) {
	switch {
	case f.group != "" && n != ipmi.NetFnGroup:
		return 0, usage("--group is for network function %02Xh, not %s", uint8(ipmi.NetFnGroup), n)
	case f.iana != "" && n != ipmi.NetFnOEM:
		return 0, usage("--iana is for network function %02Xh, not %s", uint8(ipmi.NetFnOEM), n)
	case f.group != "":
		code, err := parseByte(f.group)
		if err != nil {
			return 0, fmt.Errorf("--group: %w", err)
		}
		return uint32(code), nil
	case f.iana != "":
		digits, base := digitsOf(f.iana)
		number, err := strconv.ParseUint(digits, base, 24)
		if err != nil {
			return 0, usage("--iana: %q is no number up to FFFFFFh; write it 343, 0x157 or 157h", f.iana)
		}
		return uint32(number), nil
	}
	return ipmi.AnyGroup, nil
}

func (a *app) respond(ctx context.Context, words []string, flags respondFlags) error {
	patterns, response, err := flags.parse(words)
	if err != nil {
		return err
	}
	r := &responder{app: a, quiet: flags.quiet, lines: make(chan func() error, maxLines)}
	r.handler = ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return response, nil })
	if flags.exec != "" {
		r.program = newProgram(flags.exec, flags.timeout, a.stderr)
		r.handler = r.program
	}
	return advise(r.serveRequests(ctx, patterns), client.ErrNotAllowed, "see the handlers: ipmbctl handlers")
}

func patternsText(patterns []ipmi.Pattern) string {
	var texts []string
	for _, p := range patterns {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// responder shows the requests that a handler serves. It implements ipmi.Handler. Lines wait in a
// queue, so that a slow reader of standard output delays no response; when the queue is full,
// lines are lost.
type responder struct {
	app     *app
	handler ipmi.Handler
	program *program // nil without --exec
	quiet   bool
	lines   chan func() error
	lost    atomic.Int64
}

// serveRequests serves requests until ctx ends or standard output fails.
func (r *responder) serveRequests(ctx context.Context, patterns []ipmi.Pattern) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var writer sync.WaitGroup
	writer.Go(func() {
		if r.writeLines() != nil {
			stop()
		}
	})
	defer writer.Wait()
	defer close(r.lines) // Serve has waited for all requests.
	if r.program != nil {
		defer r.program.start(ctx)()
	}
	r.app.startNote = "answering " + patternsText(patterns) + "; Ctrl-C ends it"
	return r.app.withClient(ctx, func(ipmbd *client.Client) error {
		return ipmbd.Serve(ctx, patterns, r, func(n client.Notice) {
			r.addLine(func() error { return r.showNotice(n) })
		})
	})
}

// addLine queues a line. Its function is called later, by writeLines.
func (r *responder) addLine(show func() error) {
	select {
	case r.lines <- show:
	default:
		r.lost.Add(1)
	}
}

// writeLines writes lines until the queue is closed or a line fails.
func (r *responder) writeLines() error {
	for show := range r.lines {
		if n := r.lost.Swap(0); n > 0 {
			lost := client.Notice{Time: time.Now(), Kind: client.MessagesLost, Lost: int(n)}
			if err := r.showNotice(lost); err != nil {
				return err
			}
		}
		if err := show(); err != nil {
			return err
		}
	}
	return nil
}

// ServeIPMI passes the request on, and shows the response.
func (r *responder) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	r.handler.ServeIPMI(req, ipmi.ReplyFunc(func(response ipmi.Response, err error) bool {
		if err != nil {
			response = ipmi.Response{Code: ipmi.CodeOf(err)}
		}
		now, shown := time.Now(), ipmi.Response{Code: response.Code, Data: bytes.Clone(response.Data)}
		r.addLine(func() error { return r.showRequest(now, req, shown, err) })
		return reply.Answer(response, nil)
	}))
}

// showRequest shows a request and its response, and the error that has become the response.
func (r *responder) showRequest(at time.Time, req *ipmi.Request, response ipmi.Response, err error) error {
	if err != nil && !errors.Is(err, ipmi.ErrAbandoned) { // ErrAbandoned: ipmbctl ends.
		r.app.note("%v", err)
	}
	if r.quiet {
		return nil
	}
	return r.app.showLine(at,
		func() any { return newRespondJSON(at, req, response) },
		func(c colour) string { return respondText(c, req, response) })
}

// showNotice shows that ipmbd has started or stopped, or that lines are lost. Even with --quiet it
// shows the note at the start.
func (r *responder) showNotice(n client.Notice) error {
	if r.quiet && r.app.startNote == "" {
		return nil
	}
	return r.app.showNotice(n)
}

// respondText is the line of a request and its response.
func respondText(c colour, req *ipmi.Request, response ipmi.Response) string {
	secret := carriesSecret(req, response)
	requester := req.Requester.String()
	if req.Requester == 0 {
		requester = "host" // over a system interface
	}
	words := requestWords(req.Interface, "<-", requester, req.NetFn, req.LUN, req.Command)
	words = append(words, dataWords(req.Data, secret)...)
	code := codeCell(req.NetFn, req.Command, response.Code)
	words = append(words, "-> "+c.paint(code.sgr, code.text))
	if !secret {
		words = append(words, dataWords(response.Data, false)...)
	}
	return strings.Join(words, "  ")
}

// carriesSecret reports whether the data of a request or its response must not be shown.
func carriesSecret(req *ipmi.Request, response ipmi.Response) bool {
	return ipmi.CarriesSecret(req.NetFn, req.Command, req.Data) ||
		ipmi.CarriesSecret(req.NetFn.Response(), req.Command, response.Data)
}

type respondJSON struct {
	Time      string `json:"time"`
	Kind      string `json:"kind"`
	Bus       string `json:"bus"`
	Channel   uint8  `json:"channel"`
	Requester uint8  `json:"requester"`
	commandJSON
	Request []uint16 `json:"requestData"`
	responseJSON
	Secret bool `json:"secret,omitempty"`
}

func newRespondJSON(now time.Time, req *ipmi.Request, response ipmi.Response) respondJSON {
	document := respondJSON{
		Time: now.Format(time.RFC3339Nano), Kind: "answered",
		Bus: req.Interface, Channel: uint8(req.Channel), Requester: uint8(req.Requester),
		commandJSON: newCommandJSON(req.NetFn, req.LUN, req.Command),
		Request:     numbers(req.Data), Secret: carriesSecret(req, response),
	}
	if document.Secret {
		document.Request, response.Data = []uint16{}, nil
	}
	document.responseJSON = newResponseJSON(req.NetFn, req.Command, response)
	return document
}
