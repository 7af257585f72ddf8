package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the buses and the host interfaces",
		Long: `List the buses, with their addresses, and the host interfaces: what they are, and
whether they work. With --json, a bus has a 'transport' and a host interface a 'type'.`,
		Example: `  ipmbctl list
  ipmbctl list --json | jq -r '.[] | select(.state != "Up") | .name'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withClient(command.Context(), func(client *dbusapi.Client) error {
				members, err := client.Members(command.Context())
				if err != nil {
					return err
				}
				return a.showList(members)
			})
		},
	}
}

func (a *app) showList(members []dbusapi.Member) error {
	if a.json {
		list := make([]any, 0, len(members))
		for _, m := range members {
			list = append(list, newMemberJSON(m))
		}
		return a.out.json(list)
	}
	if len(members) == 0 {
		a.note("%s", nothingServed)
		return nil
	}
	buses := [][]cell{heading("NAME", "DEVICE", "TRANSPORT", "CHANNEL", "OWN", "REMOTE", "STATE")}
	hosts := [][]cell{heading("NAME", "TYPE", "PATH", "CHANNEL", "HANDLER", "STATE")}
	for _, m := range members {
		if host := m.Host; host != nil {
			hosts = append(hosts, []cell{
				{text: host.Name}, {text: host.Type}, {text: host.Path}, {text: fmt.Sprint(host.Channel)},
				{text: host.Handler}, state(host.State, host.Reason),
			})
			continue
		}
		buses = append(buses, []cell{
			{text: m.Bus.Name}, {text: m.Bus.Device}, {text: m.Bus.Transport}, {text: fmt.Sprint(m.Bus.Channel)},
			{text: m.Bus.OwnAddress.String()}, {text: m.Bus.RemoteAddress.String()}, state(m.Bus.State, m.Bus.Reason),
		})
	}
	var tables []string
	for _, rows := range [][][]cell{buses, hosts} {
		if len(rows) > 1 {
			tables = append(tables, table(a.colourFor(a.stdout), rows))
		}
	}
	fmt.Fprint(a.out, strings.Join(tables, "\n"))
	return nil
}

// stateColours are the colours of the states.
var stateColours = map[dbusapi.State]string{dbusapi.Up: green, dbusapi.Degraded: yellow, dbusapi.Down: red}

// state is the state of a bus or a host interface, and its reason.
func state(now dbusapi.State, reason string) cell {
	text := string(now)
	if reason != "" {
		text += ": " + reason
	}
	return cell{text, stateColours[now]}
}
