package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
)

func (a *app) bindCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bind BUS",
		Short: "Create the kernel device of a bus",
		Long: `Create the kernel device that serves a bus, at the bus's own address, and open it. The
driver is that of the device that was there before. If there was none, it is the driver
of the bus's transport, or ipmb-dev for the transport 'auto'. If the device of the bus is
open, nothing changes.`,
		Example: `  ipmbctl bind bus4
  ipmbctl list`,
		Args:              needBus(1),
		ValidArgsFunction: a.completeNames(1, false),
		RunE:              a.changeDevice("bound", (*client.Client).Bind),
	}
}

func (a *app) unbindCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unbind BUS",
		Short: "Delete the kernel device of a bus",
		Long: `Close the kernel device that serves a bus, which ends the requests in progress, and
delete it. The bus is Down until 'ipmbctl bind'. A device that the device tree or the
firmware declares cannot be deleted.`,
		Example: `  ipmbctl unbind bus4
  ipmbctl bind bus4`,
		Args:              needBus(1),
		ValidArgsFunction: a.completeNames(1, false),
		RunE:              a.changeDevice("unbound", (*client.Client).Unbind),
	}
}

// changeDevice returns the RunE of a command that changes the device of a bus, and then shows the
// bus.
func (a *app) changeDevice(
	done string, change func(*client.Client, context.Context, string) error,
) func(*cobra.Command, []string) error {
	return a.connected(func(ctx context.Context, ipmbd *client.Client, args []string) error {
		if err := change(ipmbd, ctx, args[0]); err != nil {
			return err
		}
		return a.showBus(ctx, ipmbd, args[0], done)
	})
}

// showBus shows a bus after a change, which is done even if the bus cannot be read.
func (a *app) showBus(ctx context.Context, ipmbd *client.Client, name, done string) error {
	bus, err := ipmbd.Bus(ctx, name)
	if err != nil {
		return cmp.Or(a.showChange(name, done), err)
	}
	now := stateCell(bus.State, bus.Reason)
	return a.show(newBusJSON(bus), fmt.Sprintf("%s is %s: %s\n", name, done, a.colour.paint(now.sgr, now.text)))
}

func (a *app) addCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add JSON|-",
		Short: "Add a bus or a host interface",
		Long: `Add a bus or a host interface to those that ipmbd serves. JSON is one object as in the
lists 'channels' and 'hosts' of the configuration file; an object with a 'path' is a host
interface. '-' reads the object from standard input.

The bus lasts until it is removed, until ipmbd stops, or until 'ipmbctl reload'. The
configuration file is not changed. Only root may do this.`,
		Example: `  ipmbctl add '{"type": "ipmb", "slave-path": "/dev/ipmb-7", "remote-addr": "0x2C", "devIndex": 2}'
  ipmbctl add '{"type": "vm", "name": "vm1", "path": "unix:/run/ipmbd/vm1.sock", "devIndex": 1}'
  ipmbctl add - < bus7.json`,
		Args: oneArg("one JSON object, or - for standard input, not %d arguments"),
		RunE: a.connected(a.add),
	}
}

const (
	maxObject = 1 << 20 // bytes, more than any description of a bus or a host interface
	rootOnly  = "do it as root: members of the group ipmbd may not change what ipmbd serves"
)

func (a *app) add(ctx context.Context, ipmbd *client.Client, args []string) error {
	text := args[0]
	if text == "-" {
		var err error
		if text, err = a.readInput(ctx); err != nil {
			return err
		}
	}
	host, add := isHost(text), ipmbd.AddBus
	if host {
		add = ipmbd.AddHost
	}
	name, err := add(ctx, text)
	if err != nil {
		return advise(err, client.ErrAccessDenied, rootOnly)
	}
	if host {
		return a.showChange(name, "added")
	}
	return a.showBus(ctx, ipmbd, name, "added")
}

// isHost tells host interfaces from buses. ipmbd refuses objects that are neither.
func isHost(text string) bool {
	var keys map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &keys) != nil {
		return false
	}
	_, path := keys["path"]
	_, device := keys["slave-path"]
	return path && !device
}

func (a *app) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a bus or a host interface",
		Long: `Remove a bus or a host interface from those that ipmbd serves. Calls in progress have
2 s to end. A virtual machine that is connected is disconnected.

The configuration file is not changed: a bus or a host interface that it lists comes back
with 'ipmbctl reload', or when ipmbd starts. Only root may do this.`,
		Example: `  ipmbctl remove bus7
  ipmbctl remove host1`,
		Args:              oneEndpoint,
		ValidArgsFunction: a.completeNames(1, true),
		RunE: a.connected(func(ctx context.Context, ipmbd *client.Client, args []string) error {
			if err := ipmbd.Remove(ctx, args[0]); err != nil {
				return advise(err, client.ErrAccessDenied, rootOnly)
			}
			return a.showChange(args[0], "removed")
		}),
	}
}

// changeJSON is the document of a host interface that was added, and of anything that was removed.
type changeJSON struct {
	Name string `json:"name"`
	Done string `json:"done"`
}

func (a *app) showChange(name, done string) error {
	return a.show(changeJSON{name, done}, fmt.Sprintf("%s is %s\n", name, done))
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make ipmbd read its configuration file again",
		Long: `Make ipmbd read its configuration file again. Buses and host interfaces that are not in
the file are removed, including those that 'ipmbctl add' has added. Those that differ from
the file are restarted; the others are not interrupted. New values of 'policy',
'trusted-names' and 'max-calls-per-sender' take effect at once.

A file with a fault changes nothing. A file in which 'bmc' or 'frame-socket' has changed
is refused: these need a restart. Only root may do this.`,
		Example: `  ipmbctl reload`,
		Args:    noArgs,
		RunE:    a.connected(a.reload),
	}
}

type reloadJSON struct {
	Buses []string `json:"buses"`
	Hosts []string `json:"hosts"`
}

func (a *app) reload(ctx context.Context, ipmbd *client.Client, _ []string) error {
	if err := ipmbd.Reload(ctx); err != nil {
		return advise(err, client.ErrAccessDenied, rootOnly)
	}
	endpoints, err := ipmbd.Endpoints(ctx)
	if err != nil {
		return cmp.Or(a.showChange("the configuration", "reloaded"), err)
	}
	served := reloadJSON{[]string{}, []string{}}
	for _, e := range endpoints {
		if e.Host != nil {
			served.Hosts = append(served.Hosts, e.Name)
		} else {
			served.Buses = append(served.Buses, e.Name)
		}
	}
	return a.show(served,
		fmt.Sprintf("reloaded: %s, %s\n", counted(len(served.Buses), "bus"), counted(len(served.Hosts), "host interface")))
}
