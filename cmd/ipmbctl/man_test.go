package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ipmbd/internal/manual"
)

// The manual page has the help of every command.
func TestManualPage(t *testing.T) {
	root := (&app{}).rootCommand()
	root.InitDefaultCompletionCmd("list")
	root.InitDefaultVersionFlag()

	about, description, _ := strings.Cut(root.Long, ".\n\n")
	page := manual.New("ipmbctl", 1, strings.TrimPrefix(about, "ipmbctl "))
	page.Section("Synopsis")
	page.Synopsis("ipmbctl", "COMMAND [ARGUMENT...] [OPTION...]")
	description, _, _ = strings.Cut(description, "Exit codes:")
	page.Section("Description")
	page.Prose(root.Long[:len(about)+1] + "\n\n" + description)
	page.Section("Options")
	options(page, root)
	page.Section("Exit status")
	for _, s := range statuses {
		page.Item(fmt.Sprint(s.code), s.meaning)
	}
	page.Section("Commands")
	for _, command := range commands(root) {
		page.Subsection(strings.TrimPrefix(command.CommandPath(), "ipmbctl "))
		for _, words := range synopses(command) {
			page.Synopsis("ipmbctl", words)
		}
		page.Prose(command.Long)
		options(page, command)
		if command.Example != "" {
			page.Prose(command.Example)
		}
	}
	page.Section("Examples")
	page.Prose(root.Example)
	page.Section("See also")
	page.Paragraph("`ipmbd`(8), `ipmbd.json`(5), `busctl`(1), `ipmitool`(1)")
	manual.Stored(t, "../../packaging/man/ipmbctl.1", page.String())
}

// commands are the commands that do something, in the order of --help. The commands of a shell
// need no words of their own.
func commands(parent *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, command := range parent.Commands() {
		if command.HasSubCommands() && command.Name() != "completion" {
			all = append(all, commands(command)...)
		} else if !command.Hidden && command.Name() != "help" {
			all = append(all, command)
		}
	}
	return all
}

// synopses are the ways in which a command is called.
func synopses(command *cobra.Command) []string {
	path := strings.TrimPrefix(command.CommandPath(), "ipmbctl ")
	var all []string
	for line := range strings.SplitSeq(command.Use, "\n") {
		_, words, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "ipmbctl "), command.Name())
		switch {
		case command.HasSubCommands():
			words = " COMMAND"
		case command.LocalNonPersistentFlags().HasFlags():
			words += " [OPTION...]"
		}
		all = append(all, path+words)
	}
	return all
}

// options lists a command's own options.
func options(page *manual.Page, command *cobra.Command) {
	command.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { option(page, f) })
	command.PersistentFlags().VisitAll(func(f *pflag.Flag) { option(page, f) })
}

func option(page *manual.Page, f *pflag.Flag) {
	if f.Name == "help" || f.Hidden {
		return // Every command has help.
	}
	value, text := pflag.UnquoteUsage(f)
	if value := f.DefValue; value != "" && value != "0" && value != "0s" && value != "false" {
		text += " (default " + value + ")"
	}
	tag := "--" + f.Name
	if f.Shorthand != "" {
		tag = "-" + f.Shorthand + ", " + tag
	}
	page.Item(strings.TrimSpace(tag+" "+value), text)
}
