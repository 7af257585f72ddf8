package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
)

func (a *app) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info NAME",
		Short: "Show a bus or a host interface: its properties and statistics",
		Long: `Show the properties of a bus or a host interface, and what it has counted since ipmbd
started: of a bus frames, how each call ended (calls-...), what was dropped and why
(dropped-...); of a host interface what the host has asked, and how that ended.`,
		Example: `  ipmbctl info bus0
  ipmbctl info host0
  ipmbctl info bus0 --json | jq .statistics`,
		Args:              oneMember,
		ValidArgsFunction: a.completeMembers,
		RunE: func(command *cobra.Command, args []string) error {
			return a.withClient(command.Context(), func(client *dbusapi.Client) error {
				m, err := client.Member(command.Context(), args[0])
				if err != nil {
					return err
				}
				return a.showInfo(m)
			})
		},
	}
}

func (a *app) showInfo(m dbusapi.Member) error {
	if m.Host != nil {
		if a.json {
			return a.out.json(newHostInfoJSON(*m.Host))
		}
		a.showFields(hostFields(*m.Host), m.Host.Statistics)
		return nil
	}
	if a.json {
		return a.out.json(newInfoJSON(*m.Bus))
	}
	a.showFields(busFields(*m.Bus), m.Bus.Statistics)
	return nil
}

func (a *app) showFields(rows [][]cell, statistics map[string]uint64) {
	c := a.colourFor(a.stdout)
	fmt.Fprint(a.out, table(c, rows))
	fmt.Fprintf(a.out, "\n%s\n%s", c.paint(bold, "counted since ipmbd started (what is not listed is 0)"),
		table(c, countedFields(statistics)))
}

func hostFields(host dbusapi.HostInfo) [][]cell {
	return [][]cell{
		field("name", host.Name),
		field("object", string(host.Object)),
		field("path", host.Path),
		field("type", host.Type),
		field("channel", fmt.Sprint(host.Channel)),
		field("handler", host.Handler),
		{{text: "state"}, state(host.State, host.Reason)},
	}
}

func busFields(bus dbusapi.BusInfo) [][]cell {
	rows := [][]cell{
		field("name", bus.Name),
		field("object", string(bus.Path)),
		field("device", bus.Device),
		field("transport", bus.Transport),
		field("channel", fmt.Sprint(bus.Channel)),
		field("index", fmt.Sprint(bus.Index)),
		field("own address", bus.OwnAddress.String()),
		field("remote address", bus.RemoteAddress.String()),
		{{text: "state"}, state(bus.State, bus.Reason)},
		field("timeout", bus.Policy.Timeout.String()),
		field("tries", fmt.Sprint(bus.Policy.Tries)),
	}
	if bus.Transport == switchedTransport {
		rows = append(rows,
			field("ignore NACK", onOff(bus.IgnoreNACK)),
			field("verify header checksum", onOff(bus.VerifyChecksum)))
	}
	return rows
}

// switchedTransport is the one whose driver has switches.
const switchedTransport = "ipmb-device"

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// countedFields are the counters that have counted something, by name.
func countedFields(statistics map[string]uint64) [][]cell {
	var rows [][]cell
	for _, name := range slices.Sorted(maps.Keys(statistics)) {
		if n := statistics[name]; n > 0 {
			rows = append(rows, field(name, fmt.Sprint(n)))
		}
	}
	return rows
}
