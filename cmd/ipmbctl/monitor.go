package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/bmc/record"
	"ipmbd/dbusapi/client"
	"ipmbd/ipmi"
)

func (a *app) monitorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "monitor [BUS...]",
		Short: "Watch the messages live",
		Long: `Watch the messages between the buses and D-Bus live, one line each, until Ctrl-C. With
names of buses, only the messages of these buses are shown.

  ->  to the node: a request of a program, or the response to a request of the node
  <-  from the node: its request, or its response to a program
  --  a request that has failed

Responses to nodes are those of the host IPMI daemon, and those of programs that call
sendResponse. Root sees all messages; the group ipmbd sees the requests of nodes; other
users see nothing. Data that may hold a password or a key are not shown.`,
		Example: `  ipmbctl monitor
  ipmbctl monitor bus0 bus1
  ipmbctl monitor bus0 --json >trace.json
  ipmbctl monitor --json | jq 'select(.completionCode > 0)'`,
		ValidArgsFunction: a.completeNames(0, false),
		RunE:              a.connected(a.monitor),
	}
}

func (a *app) monitor(ctx context.Context, ipmbd *client.Client, names []string) error {
	for _, name := range names {
		if _, err := ipmbd.Bus(ctx, name); err != nil {
			return err
		}
	}
	return ipmbd.Monitor(ctx, func(n client.Notice) error {
		if n.Kind == client.MonitorStarted {
			a.note("watching %s; Ctrl-C ends it", cmp.Or(strings.Join(names, ", "), "all buses"))
			if !n.Whole {
				a.note("only requests from nodes are shown, and only to root and group ipmbd; " +
					"root sees calls and responses too")
			}
			return nil
		}
		if len(names) > 0 && isMessage(n) && !slices.Contains(names, n.Bus) {
			return nil
		}
		return a.showNotice(n)
	})
}

// isMessage reports whether a notice is about an IPMI message.
func isMessage(n client.Notice) bool {
	return n.Kind == client.RequestSeen || n.Kind == client.ResponseSeen || n.Kind == client.FailureSeen
}

func (a *app) showNotice(n client.Notice) error {
	if a.startNote != "" && n.Kind == client.ServiceStarted {
		a.note("%s", a.startNote)
		a.startNote = ""
		return nil
	}
	return a.showLine(n.Time,
		func() any { return newNoticeJSON(n) },
		func(c colour) string { return noticeText(c, n) })
}

// noticeText is the line of a notice.
func noticeText(c colour, n client.Notice) string {
	switch n.Kind {
	case client.ServiceStarted:
		return c.paint(yellow, "ipmbd has started")
	case client.ServiceStopped:
		return c.paint(yellow, "ipmbd has stopped")
	case client.MessagesLost:
		return c.paint(red, counted(n.Lost, "message")+" lost: ipmbctl was too slow")
	}
	arrow, node := "->", n.Node.String()
	if n.Kind == client.FailureSeen {
		arrow = "--"
	} else if n.Incoming == (n.Kind == client.RequestSeen) {
		arrow = "<-"
	}
	if n.Node == 0 {
		node = "all"
	}
	words := requestWords(n.Bus, arrow, node, n.NetFn, n.LUN, n.Command)
	switch n.Kind {
	case client.ResponseSeen:
		code := codeCell(n.NetFn, n.Command, n.Code)
		words = append(words, c.paint(code.sgr, code.text))
	case client.FailureSeen:
		words = append(words, c.paint(red, n.Reason))
	}
	words = append(words, dataWords(n.Data, n.Secret)...)
	if n.Kind != client.RequestSeen {
		words = append(words, c.paint(dim, fmt.Sprintf("(%.1f ms)", milliseconds(n.Took))))
	}
	return strings.Join(words, "  ")
}

// requestWords begin the line of a request or a response. arrow is the direction.
func requestWords(bus, arrow, node string, n ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command) []string {
	words := []string{fmt.Sprintf("%-6s %s %-3s", cmp.Or(bus, "?"), arrow, node), commandName(n, cmd)}
	if lun != 0 {
		words = append(words, fmt.Sprintf("LUN %d", lun))
	}
	return words
}

// dataWords show data, unless they are secret.
func dataWords(data []byte, secret bool) []string {
	switch {
	case secret:
		return []string{"(data not shown)"}
	case len(data) > 0:
		return []string{hexBytes(data)}
	}
	return nil
}

// noticeKinds name the kinds of notices in JSON.
var noticeKinds = [...]string{
	client.RequestSeen:    "request",
	client.ResponseSeen:   "answer",
	client.FailureSeen:    "failure",
	client.ServiceStarted: "started",
	client.ServiceStopped: "stopped",
	client.MessagesLost:   "lost",
}

// noticeJSON is one line of monitor. Notices that are not about a message have no message.
type noticeJSON struct {
	Time string `json:"time"`
	Kind string `json:"kind"`
	*messageJSON
	Program string `json:"program,omitempty"`
	Lost    int    `json:"lost,omitempty"`
}

type messageJSON struct {
	Bus      string `json:"bus"`
	Incoming bool   `json:"incoming"`
	Node     uint8  `json:"node"`
	commandJSON
	Code         *uint8   `json:"completionCode,omitempty"`
	Meaning      string   `json:"meaning,omitempty"`
	Data         []uint16 `json:"data"`
	Secret       bool     `json:"secret,omitempty"`
	Reason       string   `json:"reason,omitempty"`
	Milliseconds *float64 `json:"milliseconds,omitempty"`
}

func newNoticeJSON(n client.Notice) noticeJSON {
	document := noticeJSON{Time: n.Time.Format(time.RFC3339Nano), Kind: noticeKinds[n.Kind],
		Program: n.Program, Lost: n.Lost}
	if !isMessage(n) {
		return document
	}
	document.messageJSON = &messageJSON{
		Bus: n.Bus, Incoming: n.Incoming, Node: uint8(n.Node),
		commandJSON: newCommandJSON(n.NetFn, n.LUN, n.Command),
		Data:        numbers(n.Data), Secret: n.Secret, Reason: n.Reason,
	}
	if n.Kind == client.ResponseSeen {
		document.Code, document.Meaning = new(uint8(n.Code)), n.Code.Meaning(n.NetFn, n.Command)
	}
	if n.Kind != client.RequestSeen {
		document.Milliseconds = new(milliseconds(n.Took))
	}
	return document
}

func (a *app) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "events",
		Short: "Show the platform events live",
		Long: `Show the platform events that nodes and hosts send, live, one line each, until Ctrl-C:
the bus, the sender and the meaning of each event, as 'ipmbctl sel list' shows it.

Up to 25 events that no program has received yet come first. No other program receives
these.`,
		Example: `  ipmbctl events
  ipmbctl events --json | jq -r 'select(.asserted).text'`,
		Args: noArgs,
		RunE: a.connected(a.events),
	}
}

func (a *app) events(ctx context.Context, ipmbd *client.Client, _ []string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.startNote = "showing platform events; Ctrl-C ends it"
	return ipmbd.Events(ctx, a.showPlatformEvent, func(n client.Notice) {
		if a.showNotice(n) != nil {
			stop()
		}
	})
}

func (a *app) showPlatformEvent(e ipmi.Event) error {
	now := time.Now()
	return a.showLine(now, func() any { return newPlatformEventJSON(now, e) }, func(c colour) string {
		direction, sgr := " asserted", red
		if !e.Asserted() {
			direction, sgr = " deasserted", green
		}
		text := strings.Replace(eventRecord(e).String(), direction, c.paint(sgr, direction), 1)
		return fmt.Sprintf("%-6s <- %s  %s", cmp.Or(e.Interface, "?"), record.Generator(e.Generator), text)
	})
}

// eventRecord is the record that a log has of an event, for its words.
func eventRecord(e ipmi.Event) record.Record { return e.Record(0, time.Time{}) }

type platformEventJSON struct {
	Time         string   `json:"time"`
	Kind         string   `json:"kind"`
	Bus          string   `json:"bus"`
	Channel      uint8    `json:"channel"`
	From         uint8    `json:"from"` // lower byte of the generator
	Generator    uint16   `json:"generator"`
	Sender       string   `json:"sender"` // the generator in words
	Text         string   `json:"text"`
	Revision     uint8    `json:"revision"`
	SensorType   uint8    `json:"sensorType"`
	SensorNumber uint8    `json:"sensorNumber"`
	Asserted     bool     `json:"asserted"`
	EventType    uint8    `json:"eventType"`
	Data         []uint16 `json:"data"`
}

func newPlatformEventJSON(now time.Time, e ipmi.Event) platformEventJSON {
	return platformEventJSON{
		Time: now.Format(time.RFC3339Nano), Kind: "event",
		Bus: e.Interface, Channel: uint8(e.Channel), From: uint8(e.Generator), Generator: e.Generator,
		Sender: record.Generator(e.Generator).String(), Text: eventRecord(e).String(),
		Revision: e.Message[0], SensorType: e.Message[1], SensorNumber: e.Message[2],
		Asserted: e.Asserted(), EventType: e.Message[3] & 0x7F, Data: numbers(e.Data()),
	}
}
