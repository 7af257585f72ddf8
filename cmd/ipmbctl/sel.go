package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/bmc/record"
	"ipmbd/dbusapi"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// selFlags are the flags of the commands below sel.
type selFlags struct {
	timeout time.Duration
	tries   int
}

func (a *app) selCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "sel",
		Short: "Show and clear system event logs",
		Long: `Show and clear the system event log of ipmbd itself or, with BUS, of a management
controller on a bus.

ADDR is the controller's address in its 8-bit form. Without it the log is that of
the bus's remote address, which 'ipmbctl list' shows.

Where there is a system's log (phosphor-sel-logger), the events that ipmbd gets are in
that one; its own has the others.`,
		Example: `  ipmbctl sel list
  ipmbctl sel info bus0 72h
  ipmbctl sel clear bus0 72h`,
		Args: selArgs,
		RunE: func(*cobra.Command, []string) error { return nil },

		SuggestionsMinimumDistance: 2, // typing errors
	}
	command.AddCommand(a.selListCommand(), a.selInfoCommand(), a.selClearCommand())
	return command
}

// selArgs refuses what is no command below sel.
func selArgs(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("no command behind sel: list, info or clear")
	}
	return noCommand(command, args[0])
}

func (a *app) selListCommand() *cobra.Command {
	return a.selCommandOf(&cobra.Command{
		Use:   "list [BUS [ADDR]]",
		Short: "List the records of a log",
		Long: `List the records of a log, the oldest first: ID, time in UTC, who sent the event,
and what it says. Readings and thresholds are raw values. The records of a panic of
Linux are put together and shown as one, with the ID of the first. Those of several
machines may be mixed, and do not say which is whose: a part that may be of one as
well as of another is shown by itself, and " ..." stands where a text lacks some.

A time "since start" is that of a controller that did not know the time yet. "~" is
before the time of a panic whose records have none: it is that of the nearest record
before. The sender is an address on a bus, with LUN and channel where they are not 0,
or software.`,
		Example: `  ipmbctl sel list
  ipmbctl sel list bus0 72h --timeout 1s
  ipmbctl sel list bus0 --json | jq '.entries[] | select(.panic)'`,
	}, a.selList)
}

func (a *app) selInfoCommand() *cobra.Command {
	return a.selCommandOf(&cobra.Command{
		Use:   "info [BUS [ADDR]]",
		Short: "Show how full a log is, and what it can do",
		Long: `Show how many records a log has, how much room is left, when the last record was
added and the log was erased, and what the controller can do with it.`,
		Example: `  ipmbctl sel info
  ipmbctl sel info bus0 72h --json | jq .overflow`,
	}, a.selInfo)
}

func (a *app) selClearCommand() *cobra.Command {
	return a.selCommandOf(&cobra.Command{
		Use:   "clear [BUS [ADDR]]",
		Short: "Erase all records of a log",
		Long: `Erase all records of a log, without a question, wait until the controller says that
it is done, and show how many they were.`,
		Example: `  ipmbctl sel clear bus0 72h
  ipmbctl sel list >sel.txt && ipmbctl sel clear`,
	}, a.selClear)
}

// selCommandOf completes a command that does something with a log.
func (a *app) selCommandOf(command *cobra.Command, do func(context.Context, *namedLog) error) *cobra.Command {
	var flags selFlags
	command.Args = selWords
	command.ValidArgsFunction = a.completeBuses(1)
	command.RunE = func(command *cobra.Command, args []string) error {
		return a.withLog(command.Context(), args, flags, do)
	}
	f := command.Flags()
	f.DurationVar(&flags.timeout, "timeout", 0, "how long each try waits: 10ms to 1m (default the bus's)")
	f.IntVar(&flags.tries, "tries", 0, "how often to try: 1 to 64 (default the bus's)")
	return command
}

// selWords wants [BUS [ADDR]].
func selWords(command *cobra.Command, args []string) error {
	if len(args) > 2 {
		return usage("sel %s takes a bus and an address, not %d words", command.Name(), len(args))
	}
	return nil
}

// namedLog is the log of ipmbd or of a node.
type namedLog struct {
	*record.Log
	place selPlaceJSON
	name  string // "ipmbd", "bus0 2Ch"
}

// selPlaceJSON is whose log a document is of: ipmbd's without a bus.
type selPlaceJSON struct {
	Bus       string `json:"bus,omitempty"`
	Responder uint8  `json:"responder,omitempty"`
}

// withLog runs do with the log that a command line names.
func (a *app) withLog(ctx context.Context, args []string, flags selFlags, do func(context.Context, *namedLog) error) error {
	policy, err := policyOf(flags.tries, flags.timeout)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if policy != (ipmb.RetryPolicy{}) {
			return usage("--timeout and --tries are for a BUS; ipmbd's own log needs none")
		}
		return a.withClient(ctx, func(client *dbusapi.Client) error {
			return do(ctx, &namedLog{Log: record.New(client.SendStorage), name: "ipmbd"})
		})
	}
	var responder ipmi.Address
	if len(args) > 1 {
		if responder, err = parseResponder(args[1]); err != nil {
			return err
		}
	}
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		bus, err := client.Bus(ctx, args[0])
		if err != nil {
			return err
		}
		if responder == 0 {
			responder = bus.RemoteAddress
		}
		log := record.New(func(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
			return client.Send(ctx, bus.Name, ipmb.Request{
				Responder: responder, NetFn: ipmi.NetFnStorage, Command: cmd, Data: data, RetryPolicy: policy,
			})
		})
		named := &namedLog{log, selPlaceJSON{bus.Name, uint8(responder)}, fmt.Sprintf("%s %s", bus.Name, responder)}
		if err := do(ctx, named); err != nil {
			return &busError{bus, responder, err}
		}
		return nil
	})
}

// selListJSON is the document of sel list.
type selListJSON struct {
	selPlaceJSON
	Entries []selEntryJSON `json:"entries"`
}

// selEntryJSON is an entry. The time stamp is the record's or, with about, that of
// the nearest record before that has one; without a time in UTC there is no time.
type selEntryJSON struct {
	ID        uint16     `json:"id"`
	Type      uint8      `json:"recordType"`
	Stamp     *uint32    `json:"timestamp,omitempty"`
	Time      *time.Time `json:"time,omitempty"`
	About     bool       `json:"about,omitempty"`
	Generator *uint16    `json:"generator,omitempty"`
	Sender    string     `json:"sender,omitempty"`
	Text      string     `json:"text"`
	Panic     bool       `json:"panic"`
	Records   []byteList `json:"records"`
}

func newSelEntryJSON(e record.Entry) selEntryJSON {
	entry := selEntryJSON{ID: e.ID, Type: uint8(e.Records[0].Type()), About: e.About, Text: e.Text, Panic: e.Panic}
	if e.Time != record.NoTime {
		entry.Stamp = new(uint32(e.Time))
	}
	if at, ok := e.Time.UTC(); ok {
		entry.Time = &at
	}
	if e.Sender != record.NoSender {
		entry.Generator, entry.Sender = new(uint16(e.Sender)), e.Sender.String()
	}
	for _, r := range e.Records {
		entry.Records = append(entry.Records, slices.Clone(r[:]))
	}
	return entry
}

func (a *app) selList(ctx context.Context, log *namedLog) error {
	progress := a.newProgress()
	records, err := log.Records(ctx, func(n int) { progress.show("%s: %d records read", log.name, n) })
	progress.clear()
	if err != nil {
		return err
	}
	entries := record.Entries(records)
	if a.json {
		document := selListJSON{log.place, []selEntryJSON{}}
		for _, e := range entries {
			document.Entries = append(document.Entries, newSelEntryJSON(e))
		}
		return a.out.json(document)
	}
	if len(entries) == 0 {
		a.note("the log of %s is empty", log.name)
		return nil
	}
	rows := [][]cell{heading("ID", "TIME", "SENDER", "EVENT")}
	for _, e := range entries {
		text := cell{text: e.Text}
		if e.Panic {
			text.sgr = red
		}
		rows = append(rows, []cell{{text: fmt.Sprintf("%04Xh", e.ID)}, {text: e.When()}, {text: e.Sender.String()}, text})
	}
	fmt.Fprint(a.out, table(a.colourFor(a.stdout), rows))
	return nil
}

// selInfoJSON is the document of sel info. The times are the log's time stamps; a
// time that there never was is left out.
type selInfoJSON struct {
	selPlaceJSON
	Version    string   `json:"version"`
	Records    uint16   `json:"records"`
	Free       uint16   `json:"freeBytes"`
	Added      *uint32  `json:"lastAddition,omitempty"`
	Erased     *uint32  `json:"lastErasure,omitempty"`
	Overflow   bool     `json:"overflow"`
	Operations []string `json:"operations"`
}

func (a *app) selInfo(ctx context.Context, log *namedLog) error {
	info, err := log.Info(ctx)
	if err != nil {
		return err
	}
	if a.json {
		document := selInfoJSON{selPlaceJSON: log.place, Version: info.VersionText(), Records: info.Records, Free: info.Free,
			Overflow: info.Overflow, Operations: info.Operations.Names()}
		if info.Added != record.NoTime {
			document.Added = new(uint32(info.Added))
		}
		if info.Erased != record.NoTime {
			document.Erased = new(uint32(info.Erased))
		}
		return a.out.json(document)
	}
	free := fmt.Sprintf("%d bytes", info.Free)
	if info.Free == record.MaxFree {
		free += " or more"
	}
	overflow := cell{text: "no"}
	if info.Overflow {
		overflow = cell{"yes: records were lost", red}
	}
	fmt.Fprint(a.out, table(a.colourFor(a.stdout), [][]cell{
		field("log", log.name),
		field("version", info.VersionText()),
		field("records", fmt.Sprint(info.Records)),
		field("free", free),
		field("last addition", info.Added.String()),
		field("last erasure", info.Erased.String()),
		{{text: "overflow"}, overflow},
		field("operations", info.Operations.String()),
	}))
	return nil
}

// selClearJSON is the document of sel clear.
type selClearJSON struct {
	selPlaceJSON
	Erased int `json:"erased"`
}

func (a *app) selClear(ctx context.Context, log *namedLog) error {
	erased, err := log.Clear(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.out.json(selClearJSON{log.place, erased})
	}
	noun := "records"
	if erased == 1 {
		noun = "record"
	}
	fmt.Fprintf(a.out, "%d %s erased from the log of %s\n", erased, noun, log.name)
	return nil
}

// logAdvice is what to do when a controller refuses something about its log;
// node is where it is.
func logAdvice(err error, node string) []string {
	var refused *record.CodeError
	if !errors.As(err, &refused) {
		return nil
	}
	switch refused.Code {
	case ipmi.CodeInvalidCommand, ipmi.CodeInvalidForLUN:
		return []string{"it may have no log; see what it supports: ipmbctl send " + node + " app get-device-id"}
	case codeErasing:
		return []string{"try again when it is done"}
	}
	return nil
}

// codeErasing is the code of the commands of a log (IPMI v2.0, section 31).
const codeErasing ipmi.CompletionCode = 0x81
