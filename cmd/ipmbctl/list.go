package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the buses",
		Long:  "List the buses: what they are, their addresses, and whether they work.",
		Example: `  ipmbctl list
  ipmbctl list --json | jq -r '.[] | select(.state != "Up") | .name'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withClient(command.Context(), func(client *dbusapi.Client) error {
				buses, err := client.Buses(command.Context())
				if err != nil {
					return err
				}
				return a.showList(buses)
			})
		},
	}
}

func (a *app) showList(buses []dbusapi.BusInfo) error {
	if a.json {
		list := make([]busJSON, 0, len(buses))
		for _, bus := range buses {
			list = append(list, newBusJSON(bus))
		}
		return a.out.json(list)
	}
	if len(buses) == 0 {
		for _, line := range busAdvice(nil) {
			a.note("%s", line)
		}
		return nil
	}
	rows := [][]cell{heading("NAME", "DEVICE", "TRANSPORT", "CHANNEL", "OWN", "REMOTE", "STATE")}
	for _, bus := range buses {
		rows = append(rows, []cell{
			{text: bus.Name}, {text: bus.Device}, {text: bus.Transport}, {text: fmt.Sprint(bus.Channel)},
			{text: bus.OwnAddress.String()}, {text: bus.RemoteAddress.String()}, state(bus),
		})
	}
	fmt.Fprint(a.out, table(a.colourFor(a.stdout), rows))
	return nil
}

// stateColours are the colours of the states of a bus.
var stateColours = map[dbusapi.State]string{dbusapi.Up: green, dbusapi.Degraded: yellow, dbusapi.Down: red}

// state is a bus's state and its reason.
func state(bus dbusapi.BusInfo) cell {
	text := string(bus.State)
	if bus.Reason != "" {
		text += ": " + bus.Reason
	}
	return cell{text, stateColours[bus.State]}
}
