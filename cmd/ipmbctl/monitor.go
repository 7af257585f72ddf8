package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
)

func (a *app) monitorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "monitor [BUS...]",
		Short: "Watch the messages live",
		Long: `Watch the messages between the buses and the message bus, live, one line each,
until Ctrl-C. With the names of buses only theirs are shown.

  ->  goes to the node: a program's request, or the answer to the node's
  <-  comes from the node: its request, or its answer to a program's
  --  a request that has failed

The answers to nodes are those of the host IPMI daemon or of sendResponse. Root
sees everything; group ipmbd sees the requests that come from nodes; others see
nothing. Data that may be a password or a key are not shown.`,
		Example: `  ipmbctl monitor
  ipmbctl monitor bus0 bus1
  ipmbctl monitor --json | jq 'select(.completionCode > 0)'`,
		ValidArgsFunction: a.completeBuses(0),
		RunE: func(command *cobra.Command, args []string) error {
			return a.monitor(command.Context(), args)
		},
	}
}

func (a *app) monitor(ctx context.Context, names []string) error {
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		if err := checkNames(ctx, client, names); err != nil {
			return err
		}
		monitor, err := client.OpenMonitor(ctx)
		if err != nil {
			return err
		}
		defer monitor.Close()
		a.introduce(names, monitor.Whole())
		err = monitor.Run(ctx, func(e dbusapi.Event) error {
			if !wanted(e, names) {
				return nil
			}
			return a.showEvent(e)
		})
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how it ends.
		}
		return err
	})
}

// checkNames reports the first name that is no bus.
func checkNames(ctx context.Context, client *dbusapi.Client, names []string) error {
	for _, name := range names {
		if _, err := client.Bus(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// introduce says what will be shown.
func (a *app) introduce(names []string, whole bool) {
	what := "all buses"
	if len(names) > 0 {
		what = strings.Join(names, ", ")
	}
	a.note("watching %s; Ctrl-C ends it", what)
	if !whole {
		a.note("only requests from nodes are shown, and only to root and group ipmbd; as root you see calls and answers too")
	}
}

// wanted reports whether an event is of one of the buses, or of all.
func wanted(e dbusapi.Event, names []string) bool {
	return len(names) == 0 || !isMessage(e) || slices.Contains(names, e.Bus)
}

// isMessage reports whether an event is about an IPMI message.
func isMessage(e dbusapi.Event) bool {
	return e.Kind == dbusapi.RequestSeen || e.Kind == dbusapi.AnswerSeen || e.Kind == dbusapi.FailureSeen
}

// clock is the time of a line that is shown live.
const clock = "15:04:05.000"

func (a *app) showEvent(e dbusapi.Event) error {
	if a.json {
		return a.out.json(newEventJSON(e))
	}
	c := a.colourFor(a.stdout)
	fmt.Fprintf(a.out, "%s  %s\n", c.paint(dim, e.Time.Format(clock)), eventText(c, e))
	return a.out.err
}

// teller makes what shows how ipmbd comes and goes: the introduction when it is
// there for the first time, and show the rest.
func (a *app) teller(introduction string, show func(dbusapi.Event) error) func(dbusapi.Event) error {
	begun := false
	return func(e dbusapi.Event) error {
		if begun || e.Kind != dbusapi.ServiceStarted {
			return show(e)
		}
		begun = true
		a.note("%s", introduction)
		return nil
	}
}

// eventText is an event on a line, without its time.
func eventText(c colour, e dbusapi.Event) string {
	switch e.Kind {
	case dbusapi.ServiceStarted:
		return c.paint(yellow, "ipmbd has started")
	case dbusapi.ServiceStopped:
		return c.paint(yellow, "ipmbd has stopped")
	case dbusapi.MessagesLost:
		return c.paint(red, fmt.Sprintf("%d messages lost: they came faster than they were shown", e.Lost))
	}
	words := []string{fmt.Sprintf("%-6s %s %-3s  %s", orUnknown(e.Bus), arrow(e), nodeText(e.Node), commandName(e.NetFn, e.Command))}
	if e.LUN != 0 {
		words = append(words, fmt.Sprintf("LUN %d", e.LUN))
	}
	switch e.Kind {
	case dbusapi.AnswerSeen:
		code := codeCell(e.NetFn, e.Command, e.Code)
		words = append(words, c.paint(code.sgr, code.text))
	case dbusapi.FailureSeen:
		words = append(words, c.paint(red, e.Reason))
	}
	if e.Secret {
		words = append(words, "(data not shown)")
	} else if len(e.Data) > 0 {
		words = append(words, hexBytes(e.Data))
	}
	if e.Kind != dbusapi.RequestSeen {
		words = append(words, c.paint(dim, "("+tookText(e.Took)+")"))
	}
	return strings.Join(words, "  ")
}

// arrow says which way a message goes, seen from the program's side.
func arrow(e dbusapi.Event) string {
	switch {
	case e.Kind == dbusapi.FailureSeen:
		return "--"
	case e.Incoming == (e.Kind == dbusapi.RequestSeen):
		return "<-"
	}
	return "->"
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

// nodeText is an address; 0 is all nodes.
func nodeText(a ipmi.Address) string {
	if a == 0 {
		return "all"
	}
	return a.String()
}

func tookText(d time.Duration) string { return fmt.Sprintf("%.1f ms", milliseconds(d)) }

// eventKinds are the kinds of events in JSON.
var eventKinds = [...]string{
	dbusapi.RequestSeen:    "request",
	dbusapi.AnswerSeen:     "answer",
	dbusapi.FailureSeen:    "failure",
	dbusapi.ServiceStarted: "started",
	dbusapi.ServiceStopped: "stopped",
	dbusapi.MessagesLost:   "lost",
}

// eventJSON is one line of monitor. The message is missing where an event has
// none.
type eventJSON struct {
	Time string `json:"time"`
	Kind string `json:"kind"`
	*messageJSON
	Program string `json:"program,omitempty"`
	Lost    int    `json:"lost,omitempty"`
}

type messageJSON struct {
	Bus          string   `json:"bus"`
	Incoming     bool     `json:"incoming"`
	Node         uint8    `json:"node"`
	NetFn        uint8    `json:"netFn"`
	LUN          uint8    `json:"lun"`
	Command      uint8    `json:"command"`
	Name         string   `json:"name"`
	Code         *uint8   `json:"completionCode,omitempty"`
	Meaning      string   `json:"meaning,omitempty"`
	Data         byteList `json:"data"`
	Secret       bool     `json:"secret,omitempty"`
	Reason       string   `json:"reason,omitempty"`
	Milliseconds *float64 `json:"milliseconds,omitempty"`
}

func newEventJSON(e dbusapi.Event) eventJSON {
	event := eventJSON{Time: e.Time.Format(time.RFC3339Nano), Kind: eventKinds[e.Kind], Program: e.Program, Lost: e.Lost}
	if !isMessage(e) {
		return event
	}
	event.messageJSON = &messageJSON{
		Bus: e.Bus, Incoming: e.Incoming, Node: uint8(e.Node),
		NetFn: uint8(e.NetFn), LUN: uint8(e.LUN), Command: uint8(e.Command), Name: commandName(e.NetFn, e.Command),
		Data: e.Data, Secret: e.Secret, Reason: e.Reason,
	}
	if e.Kind == dbusapi.AnswerSeen {
		event.Code, event.Meaning = new(uint8(e.Code)), e.Code.Meaning(e.NetFn, e.Command)
	}
	if e.Kind != dbusapi.RequestSeen {
		event.Milliseconds = new(milliseconds(e.Took))
	}
	return event
}
