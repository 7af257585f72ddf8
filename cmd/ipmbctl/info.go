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
		Use:   "info BUS",
		Short: "Show a bus: its properties and statistics",
		Long: `Show the properties of a bus, and what it has counted since ipmbd started: frames,
how each call ended (calls-...), what was dropped and why (dropped-...).`,
		Example: `  ipmbctl info bus0
  ipmbctl info bus0 --json | jq .statistics`,
		Args:              oneBus,
		ValidArgsFunction: a.completeBuses(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.withClient(command.Context(), func(client *dbusapi.Client) error {
				bus, err := client.Bus(command.Context(), args[0])
				if err != nil {
					return err
				}
				return a.showInfo(bus)
			})
		},
	}
}

func (a *app) showInfo(bus dbusapi.BusInfo) error {
	if a.json {
		return a.out.json(newInfoJSON(bus))
	}
	rows := [][]cell{
		field("name", bus.Name),
		field("object", string(bus.Path)),
		field("device", bus.Device),
		field("transport", bus.Transport),
		field("channel", fmt.Sprint(bus.Channel)),
		field("index", fmt.Sprint(bus.Index)),
		field("own address", bus.OwnAddress.String()),
		field("remote address", bus.RemoteAddress.String()),
		{{text: "state"}, state(bus)},
		field("timeout", bus.Policy.Timeout.String()),
		field("tries", fmt.Sprint(bus.Policy.Tries)),
	}
	if bus.Transport == switchedTransport {
		rows = append(rows,
			field("ignore NACK", onOff(bus.IgnoreNACK)),
			field("verify header checksum", onOff(bus.VerifyChecksum)))
	}
	c := a.colourFor(a.stdout)
	fmt.Fprint(a.out, table(c, rows))
	fmt.Fprintf(a.out, "\n%s\n%s", c.paint(bold, "counted since ipmbd started (what is not listed is 0)"),
		table(c, countedFields(bus.Statistics)))
	return nil
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
