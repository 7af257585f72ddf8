package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/bmc/record"
	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func (a *app) selCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "sel",
		Short: "Show and clear system event logs",
		Long: `Show and clear the system event log of ipmbd itself or, with BUS, of a management
controller on a bus.

ADDR is the controller's address in its 8-bit form. Without ADDR the log is that of the
bus's remote address, which 'ipmbctl list' shows.

If the system has an event log of its own (phosphor-sel-logger), that log holds the
events that ipmbd receives, and the log of ipmbd holds the others.`,
		Example: `  ipmbctl sel list
  ipmbctl sel info bus0 72h
  ipmbctl sel clear bus0 72h`,
		Args: needCommand("no command after sel: list, info or clear"),
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	command.AddCommand(a.selListCommand(), a.selInfoCommand(), a.selClearCommand())
	return command
}

func (a *app) selListCommand() *cobra.Command {
	return a.logCommand(&cobra.Command{
		Use:   "list [BUS [ADDR]]",
		Short: "List the records of a log",
		Long: `List the records of a log, the oldest first: ID, time in UTC, sender and meaning of each
event. Readings and thresholds are raw values. Other data of an event have the standard's
name in parentheses, if there is one.

A panic of Linux is stored in several records. They are shown as one, with the ID of the
first. If several machines panic at a time, their records are mixed and do not say to
which machine they belong. A record that could belong to more than one panic is shown by
itself, and " ..." marks a text that is incomplete.

A time "since start" comes from a controller that did not know the time yet. "~" marks
the time of a panic: its records have no time, so the time is that of the nearest earlier
record. The sender is software, or an address on a bus, with its LUN and channel if they
are not 0.

If a record cannot be read, the records before it are shown, and then the error.`,
		Example: `  ipmbctl sel list
  ipmbctl sel list bus0 72h --timeout 1s --tries 3
  ipmbctl sel list bus0 --json | jq '.entries[] | select(.panic)'`,
	}, a.selList)
}

func (a *app) selInfoCommand() *cobra.Command {
	return a.logCommand(&cobra.Command{
		Use:   "info [BUS [ADDR]]",
		Short: "Show how full a log is, and what it supports",
		Long: `Show how many records a log has, how much space is left, when the last record was added,
when the log was erased, and which operations the controller supports.`,
		Example: `  ipmbctl sel info
  ipmbctl sel info bus0 72h --json | jq .overflow`,
	}, a.selInfo)
}

func (a *app) selClearCommand() *cobra.Command {
	return a.logCommand(&cobra.Command{
		Use:   "clear [BUS [ADDR]]",
		Short: "Erase all records of a log",
		Long: `Erase all records of a log without asking, wait until the controller reports that it is
done, and show the number of erased records.`,
		Example: `  ipmbctl sel clear bus0 72h
  ipmbctl sel list >sel.txt && ipmbctl sel clear`,
	}, a.selClear)
}

// logCommand completes a command that does something with a log.
func (a *app) logCommand(command *cobra.Command, do func(context.Context, *namedLog) error) *cobra.Command {
	var flags retryFlags
	command.Args = func(command *cobra.Command, args []string) error {
		if len(args) > 2 {
			return usage("sel %s takes a bus and an address, not %d words", command.Name(), len(args))
		}
		return nil
	}
	command.ValidArgsFunction = a.completeNames(1, false)
	command.RunE = withFlags(&flags, func(ctx context.Context, args []string, flags retryFlags) error {
		return a.withLog(ctx, args, flags, do)
	})
	flags.define(command.Flags())
	return command
}

// namedLog is the log of ipmbd or of a node.
type namedLog struct {
	*record.Log
	place selPlaceJSON
	name  string // "ipmbd", "bus0 2Ch"
}

// selPlaceJSON names the log of a document: without a bus, the log of ipmbd.
type selPlaceJSON struct {
	Bus       string `json:"bus,omitempty"`
	Responder uint8  `json:"responder,omitempty"`
}

// withLog calls do with the log that [BUS [ADDR]] names.
func (a *app) withLog(
	ctx context.Context, args []string, flags retryFlags, do func(context.Context, *namedLog) error,
) error {
	policy, err := flags.policy()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if policy != (ipmb.RetryPolicy{}) {
			return usage("--timeout and --tries are for a BUS; ipmbd's own log needs none")
		}
		return a.withClient(ctx, func(ipmbd *client.Client) error {
			return do(ctx, &namedLog{Log: record.New(ipmbd.SendStorage), name: "ipmbd"})
		})
	}
	var responder ipmi.Address
	if len(args) > 1 {
		if responder, err = parseResponder(args[1]); err != nil {
			return err
		}
	}
	return a.withClient(ctx, func(ipmbd *client.Client) error {
		bus, err := ipmbd.Bus(ctx, args[0])
		if err != nil {
			return err
		}
		if responder == 0 {
			responder = bus.RemoteAddress
		}
		log := record.New(func(ctx context.Context, cmd ipmi.Command, data []byte) (ipmi.Response, error) {
			return ipmbd.Send(ctx, bus.Name, ipmb.Request{
				Responder: responder, NetFn: ipmi.NetFnStorage, Command: cmd, Data: data, RetryPolicy: policy,
			})
		})
		name := fmt.Sprintf("%s %s", bus.Name, responder)
		if err := do(ctx, &namedLog{log, selPlaceJSON{bus.Name, uint8(responder)}, name}); err != nil {
			return explainError(ctx, ipmbd, bus, responder, err)
		}
		return nil
	})
}

type selListJSON struct {
	selPlaceJSON
	Entries    []selEntryJSON `json:"entries"`
	Incomplete bool           `json:"incomplete,omitempty"` // not all records could be read
}

// selEntryJSON is an entry. With about, the time stamp comes from the nearest earlier record that
// has one. Without a time in UTC there is no time.
type selEntryJSON struct {
	ID            uint16     `json:"id"`
	Type          uint8      `json:"recordType"`
	Stamp         *uint32    `json:"timestamp,omitempty"`
	Time          *time.Time `json:"time,omitempty"`
	About         bool       `json:"about,omitempty"`
	Generator     *uint16    `json:"generator,omitempty"`
	GeneratorName string     `json:"sender,omitempty"`
	Text          string     `json:"text"`
	Panic         bool       `json:"panic"`
	Records       [][]uint16 `json:"records"`
}

func newSelEntryJSON(e record.Entry) selEntryJSON {
	entry := selEntryJSON{ID: e.ID, Type: uint8(e.Records[0].Type()), Stamp: stamp(e.Time),
		About: e.About, Text: e.Text, Panic: e.Panic}
	if at, ok := e.Time.UTC(); ok {
		entry.Time = &at
	}
	if e.Generator != record.NoGenerator {
		entry.Generator, entry.GeneratorName = new(uint16(e.Generator)), e.Generator.String()
	}
	for _, r := range e.Records {
		entry.Records = append(entry.Records, numbers(r[:]))
	}
	return entry
}

// stamp returns a time stamp of the log, or nil if there is none.
func stamp(t record.Time) *uint32 {
	if t == record.NoTime {
		return nil
	}
	return new(uint32(t))
}

func (a *app) selList(ctx context.Context, log *namedLog) error {
	records, err := log.Records(ctx, func(n int) { a.showProgress("%s: %s read", log.name, counted(n, "record")) })
	a.showProgress("")
	switch {
	case err != nil && len(records) == 0:
		return err
	case err != nil:
		err = fmt.Errorf("after %s: %w", counted(len(records), "record"), err)
	}
	document := selListJSON{log.place, []selEntryJSON{}, err != nil}
	rows := heading("ID", "TIME", "SENDER", "EVENT")
	for _, e := range record.Entries(records) {
		document.Entries = append(document.Entries, newSelEntryJSON(e))
		text := cell{text: e.Text}
		if e.Panic {
			text.sgr = red
		}
		rows = append(rows, append(row(fmt.Sprintf("%04Xh", e.ID), e.When(), e.Generator.String()), text))
	}
	if len(document.Entries) == 0 && !a.json {
		a.note("the log of %s is empty", log.name)
		return nil
	}
	return cmp.Or(a.show(document, a.colour.table(rows)), err)
}

// selInfoJSON is the document of sel info. The times are time stamps of the log.
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
	free := counted(int(info.Free), "byte")
	if info.Free == record.MaxFree {
		free += " or more"
	}
	overflow := cell{text: "no"}
	if info.Overflow {
		overflow = cell{"yes: records were lost", red}
	}
	return a.show(selInfoJSON{
		log.place, info.VersionText(), info.Records, info.Free, stamp(info.Added), stamp(info.Erased),
		info.Overflow, info.Operations.Names(),
	}, a.colour.table([][]cell{
		row("log", log.name),
		row("version", info.VersionText()),
		row("records", fmt.Sprint(info.Records)),
		row("free", free),
		row("last addition", info.Added.String()),
		row("last erasure", info.Erased.String()),
		{{text: "overflow"}, overflow},
		row("operations", info.Operations.String()),
	}))
}

type selClearJSON struct {
	selPlaceJSON
	Erased int `json:"erased"`
}

func (a *app) selClear(ctx context.Context, log *namedLog) error {
	erased, err := log.Clear(ctx)
	if err != nil {
		return err
	}
	return a.show(selClearJSON{log.place, erased},
		fmt.Sprintf("%s erased from the log of %s\n", counted(erased, "record"), log.name))
}
