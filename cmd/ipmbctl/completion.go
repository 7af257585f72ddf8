package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmi"
)

// completionTime is how long a shell may wait for names: a key must not block.
const completionTime = 200 * time.Millisecond

// completeNames completes the names of buses, or of buses and host interfaces: max words, or any
// number if max is 0. It does not start ipmbd.
func (a *app) completeNames(max int, hosts bool) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		if max == 0 || len(given) < max {
			ctx, cancel := context.WithTimeout(command.Context(), completionTime)
			defer cancel()
			_ = a.withClient(ctx, func(ipmbd *client.Client) error {
				ipmbd.NoAutoStart = true
				endpoints, err := ipmbd.Endpoints(ctx)
				for _, e := range endpoints {
					if hosts || e.Bus != nil {
						names = append(names, e.Name+"\t"+e.Device)
					}
				}
				return err
			})
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeSend completes BUS [ADDR] NETFN CMD. An address has no names, but a number can be one.
func (a *app) completeSend(
	command *cobra.Command, given []string, word string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) == 0 {
		return a.completeNames(1, false)(command, given, word)
	}
	var names []cobra.Completion
	words := given[1:]
	if len(words) > 0 && isNumberOfAddress(words[0]) && !command.Flags().Changed("addr") {
		names, words = commandNames(words), words[1:]
	}
	switch len(words) {
	case 0:
		names = append(names, netFnNames()...)
	case 1:
		names = append(names, commandNames(words)...)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeRespond completes NETFN CMD, or NETFN CMD... if a program makes the responses.
func completeRespond(
	command *cobra.Command, given []string, _ string,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	switch {
	case len(given) == 0:
		names = netFnNames()
	case len(given) == 1 || command.Flags().Changed("exec"):
		if _, err := ipmi.ParseNetFn(given[0]); err == nil {
			names = append(commandNames(given[:1]), everyCommand)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// netFnNames are the names of network functions of requests.
func netFnNames() []cobra.Completion {
	return namesOf(func(v uint8) string {
		if n := ipmi.NetFn(v); !n.IsResponse() {
			return n.String()
		}
		return numbered(v)
	})
}

// commandNames are the names of the commands of a network function, if it is the only word.
func commandNames(words []string) []cobra.Completion {
	if len(words) != 1 {
		return nil
	}
	n, err := ipmi.ParseNetFn(words[0])
	if err != nil {
		return nil
	}
	return namesOf(func(v uint8) string { return ipmi.CommandName(n, ipmi.Command(v)) })
}

// namesOf lists the names that differ from the number itself.
func namesOf(name func(uint8) string) []cobra.Completion {
	var names []cobra.Completion
	for v := range 256 {
		if name := name(uint8(v)); name != numbered(uint8(v)) {
			names = append(names, name)
		}
	}
	return names
}
