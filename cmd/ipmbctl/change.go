package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
)

func (a *app) addCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add JSON|-",
		Short: "Add a bus or a host interface",
		Long: `Add a bus or a host interface to those that ipmbd serves. JSON is one object as the
lists 'channels' and 'hosts' of the configuration file have it; what has a 'path' is
a host interface. '-' reads it from standard input.

It lasts until it is removed, ipmbd ends, or 'ipmbctl reload': the configuration file
is left as it is. Only root may do this.`,
		Example: `  ipmbctl add '{"type": "ipmb", "slave-path": "/dev/ipmb-7", "remote-addr": "0x2C", "devIndex": 2}'
  ipmbctl add '{"type": "vm", "name": "vm1", "path": "unix:/run/ipmbd/vm1.sock", "devIndex": 1}'
  ipmbctl add - < bus7.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("one JSON object, or - for standard input, not %d arguments", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, args []string) error {
			return a.add(command.Context(), args[0])
		},
	}
}

// maxObject is more than the description of any bus or host interface, in bytes.
const maxObject = 1 << 20

func (a *app) add(ctx context.Context, text string) error {
	if text == "-" {
		read, err := io.ReadAll(io.LimitReader(a.stdin, maxObject))
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		text = string(read)
	}
	return a.change(ctx, func(client *dbusapi.Client) error {
		if isHost(text) {
			name, err := client.AddHost(ctx, text)
			if err != nil {
				return err
			}
			return a.showChange(name, "added")
		}
		name, err := client.AddBus(ctx, text)
		if err != nil {
			return err
		}
		bus, err := client.Bus(ctx, name)
		if err != nil {
			return err
		}
		return a.showBus(bus, name, "added")
	})
}

// isHost tells host interfaces from buses. What is neither is for ipmbd to judge.
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
2 s to end. A machine that is connected is hung up on.

The configuration file is left as it is: what is in it is back with 'ipmbctl reload',
or when ipmbd starts. Only root may do this.`,
		Example: `  ipmbctl remove bus7
  ipmbctl remove host1`,
		Args:              oneMember,
		ValidArgsFunction: a.completeMembers,
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			return a.change(ctx, func(client *dbusapi.Client) error {
				if err := client.Remove(ctx, args[0]); err != nil {
					return err
				}
				return a.showChange(args[0], "removed")
			})
		},
	}
}

// oneMember wants the name of a bus or a host interface and nothing else.
func oneMember(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("one name of a bus or a host interface, not %d", len(args))
	}
	return nil
}

// completeMembers completes the name of a bus or a host interface.
func (a *app) completeMembers(command *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	if len(given) == 0 {
		_ = a.withClient(command.Context(), func(client *dbusapi.Client) error {
			members, err := client.Members(command.Context())
			for _, m := range members {
				names = append(names, m.Name()+"\t"+m.Device())
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make ipmbd read its configuration file again",
		Long: `Make ipmbd read its configuration file again. Buses and host interfaces that are not in
it are removed, also those that were added by 'ipmbctl add'; those that differ begin
anew; the others do not notice. 'policy', 'trusted-names' and 'max-calls-per-sender'
hold at once.

A file with a fault changes nothing, and neither does one in which 'bmc' or
'frame-socket' has changed, which needs a restart. Only root may do this.`,
		Example:           `  ipmbctl reload`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.reload(command.Context())
		},
	}
}

// servedJSON is the document of reload: names.
type servedJSON struct {
	Buses []string `json:"buses"`
	Hosts []string `json:"hosts"`
}

func (a *app) reload(ctx context.Context) error {
	return a.change(ctx, func(client *dbusapi.Client) error {
		if err := client.Reload(ctx); err != nil {
			return err
		}
		members, err := client.Members(ctx)
		if err != nil {
			return err
		}
		served := servedJSON{[]string{}, []string{}}
		for _, m := range members {
			if m.Host != nil {
				served.Hosts = append(served.Hosts, m.Name())
			} else {
				served.Buses = append(served.Buses, m.Name())
			}
		}
		if a.json {
			return a.out.json(served)
		}
		fmt.Fprintf(a.out, "reloaded: %d buses, %d host interfaces\n", len(served.Buses), len(served.Hosts))
		return nil
	})
}

// changeJSON is the document of what was done to a host interface, or is removed.
type changeJSON struct {
	Name string `json:"name"`
	Done string `json:"done"`
}

func (a *app) showChange(name, done string) error {
	if a.json {
		return a.out.json(changeJSON{name, done})
	}
	fmt.Fprintf(a.out, "%s is %s\n", name, done)
	return nil
}

// change runs what changes ipmbd, which is for root only.
func (a *app) change(ctx context.Context, f func(*dbusapi.Client) error) error {
	err := a.withClient(ctx, f)
	if errors.Is(err, dbusapi.ErrAccessDenied) {
		return &rootError{err}
	}
	return err
}

// rootError is that only root may do what was asked for.
type rootError struct{ error }

// Unwrap is the cause.
func (e *rootError) Unwrap() error { return e.error }
