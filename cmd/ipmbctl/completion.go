package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"ipmbd/ipmi"
)

// completeCommands completes NETFN CMD, and more commands when a program makes
// the answers.
func completeCommands(command *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	switch {
	case len(given) == 0:
		names = netFnNames()
	case len(given) == 1 || command.Flags().Changed("exec"):
		if n, err := ipmi.ParseNetFn(given[0]); err == nil {
			names = append(commandNames(n), everyCommand)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// netFnNames are the network functions that have a name.
func netFnNames() []cobra.Completion {
	var names []cobra.Completion
	for n := ipmi.NetFn(0); n < ipmi.MaxNetFn; n += 2 {
		if name := n.String(); name != numbered(uint8(n)) {
			names = append(names, name)
		}
	}
	return names
}

// commandNames are the commands of a network function that have a name.
func commandNames(n ipmi.NetFn) []cobra.Completion {
	var names []cobra.Completion
	for i := range 256 {
		cmd := uint8(i)
		if name := ipmi.CommandName(n, ipmi.Command(cmd)); name != numbered(cmd) {
			names = append(names, name)
		}
	}
	return names
}

// numbered is what package ipmi calls things without a name.
func numbered(v uint8) string { return fmt.Sprintf("%02Xh", v) }
