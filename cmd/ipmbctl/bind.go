package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
)

func (a *app) bindCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bind BUS",
		Short: "Make the kernel device of a bus",
		Long: `Make the kernel device that serves a bus, at the bus's own address, and open it.
Its driver is the one that was there before or, when none was, the bus's transport;
ipmb-dev for a transport 'auto'. A bus whose device is open is left as it is.`,
		Example: `  ipmbctl bind bus4
  ipmbctl list`,
		Args:              oneBus,
		ValidArgsFunction: a.completeBuses(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.changeDevice(command.Context(), args[0], "bound", (*dbusapi.Client).Bind)
		},
	}
}

func (a *app) unbindCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unbind BUS",
		Short: "Delete the kernel device of a bus",
		Long: `Close the kernel device that serves a bus, which ends the requests in progress,
and delete it. The bus is Down until 'ipmbctl bind'. A device that the device tree
or the firmware declares cannot be deleted.`,
		Example: `  ipmbctl unbind bus4
  ipmbctl bind bus4`,
		Args:              oneBus,
		ValidArgsFunction: a.completeBuses(1),
		RunE: func(command *cobra.Command, args []string) error {
			return a.changeDevice(command.Context(), args[0], "unbound", (*dbusapi.Client).Unbind)
		},
	}
}

// changeDevice changes the device of a bus and shows how the bus is then.
func (a *app) changeDevice(ctx context.Context, name, done string, change func(*dbusapi.Client, context.Context, string) error) error {
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		if err := change(client, ctx, name); err != nil {
			return err // Its text names the device and says what to do.
		}
		bus, err := client.Bus(ctx, name)
		if err != nil {
			return err
		}
		return a.showBus(bus, bus.Device, done)
	})
}

// showBus shows how a bus is after what was done to it.
func (a *app) showBus(bus dbusapi.BusInfo, what, done string) error {
	if a.json {
		return a.out.json(newBusJSON(bus))
	}
	now := state(bus.State, bus.Reason)
	fmt.Fprintf(a.out, "%s is %s: %s\n", what, done, a.colourFor(a.stdout).paint(now.sgr, now.text))
	return nil
}
