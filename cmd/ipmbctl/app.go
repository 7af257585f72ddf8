package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ipmbd/bmc/record"
	"ipmbd/dbusapi"
)

// version is set when the program is linked.
var version = "unknown"

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitNotOKCC = 3 // the completion code is not 0
)

// errNotOK: the answer's completion code, which has been shown, is not 0.
var errNotOK = errors.New("completion code is not 0")

// usageError is a command line that cannot be obeyed.
type usageError struct{ error }

// Unwrap is the cause.
func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is one run of the program.
type app struct {
	environment
	out     *output
	address string // of the message bus
	json    bool
	begun   bool // the command line as such is in order
}

// run does what args ask for and returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	a := &app{environment: env, out: &output{w: env.stdout}}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(env.stderr)
	command, err := root.ExecuteContextC(ctx)
	return a.exitCode(command, err)
}

// exitCode tells people of an error and programs which kind it is.
func (a *app) exitCode(command *cobra.Command, err error) int {
	switch {
	case a.out.closed():
		return exitFailed
	case a.out.err != nil:
		a.complain(fmt.Errorf("standard output: %w", a.out.err))
		return exitFailed
	case err == nil:
		return exitOK
	case errors.Is(err, errNotOK):
		return exitNotOKCC
	}
	a.complain(err)
	if !a.begun || errors.As(err, new(usageError)) {
		fmt.Fprintf(a.stderr, "See '%s --help'.\n", command.CommandPath())
		return exitUsage
	}
	if errors.As(err, new(*record.CodeError)) {
		return exitNotOKCC
	}
	return exitFailed
}

// complain says what went wrong and what to do about it.
func (a *app) complain(err error) {
	c := a.colourFor(a.stderr)
	fmt.Fprintf(a.stderr, "%s %v\n", c.paint(red, "ipmbctl:"), sentence(err))
	for _, line := range a.advice(err) {
		fmt.Fprintln(a.stderr, "  "+line)
	}
}

// note says something beside the results.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "ipmbctl: "+format+"\n", args...)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ipmbctl",
		Short: "Show and use the IPMB buses that ipmbd serves",
		Long: `ipmbctl shows and uses the IPMB buses that ipmbd serves on D-Bus.

Addresses are in their 8-bit form: 20h is the node at 10h in 7 bits. Numbers are
written 44, 0x2C or 2Ch.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 the answer's completion
code is not 0.`,
		Example: `  ipmbctl list
  ipmbctl send bus0 app get-device-id
  ipmbctl scan bus0
  ipmbctl sel list
  ipmbctl monitor
  ipmbctl respond --code C1h app cold-reset
  ipmbctl events`,
		Version:          version,
		Args:             rootArgs,
		RunE:             func(*cobra.Command, []string) error { return nil },
		PersistentPreRun: func(*cobra.Command, []string) { a.begun = true },
		SilenceErrors:    true,
		SilenceUsage:     true,

		SuggestionsMinimumDistance: 2, // typing errors
	}
	root.SetVersionTemplate("ipmbctl {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.address, "bus", dbusapi.SystemBus, "message bus: system, session or a D-Bus `ADDRESS`")
	flags.BoolVar(&a.json, "json", false, "write JSON, a line for each document")
	root.AddCommand(a.listCommand(), a.infoCommand(), a.sendCommand(), a.scanCommand(), a.selCommand(), a.monitorCommand(),
		a.handlersCommand(), a.respondCommand(), a.eventsCommand(), a.bindCommand(), a.unbindCommand(),
		a.addCommand(), a.removeCommand(), a.reloadCommand())
	return root
}

// withClient runs f with a connection to the message bus.
func (a *app) withClient(ctx context.Context, f func(*dbusapi.Client) error) error {
	client, err := dbusapi.OpenClient(ctx, a.address)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// rootArgs refuses what is no command.
func rootArgs(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("no command; 'ipmbctl list' shows the buses")
	}
	return noCommand(root, args[0])
}

// noCommand says that there is no command of a name below another.
func noCommand(parent *cobra.Command, name string) error {
	hint := ""
	if near := parent.SuggestionsFor(name); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return usage("no command %q%s", name, hint)
}

// noArgs wants nothing.
func noArgs(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, not %q", command.Name(), args[0])
	}
	return nil
}

// oneBus wants the name of a bus and nothing else.
func oneBus(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usage("no bus; 'ipmbctl list' shows the buses")
	case 1:
		return nil
	}
	return usage("one bus at a time, not %d", len(args))
}

// completeBuses completes the names of buses: as many as there may be when max
// is 0.
func (a *app) completeBuses(max int) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if max > 0 && len(given) >= max {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		_ = a.withClient(command.Context(), func(client *dbusapi.Client) error {
			buses, err := client.Buses(command.Context())
			for _, bus := range buses {
				names = append(names, bus.Name+"\t"+bus.Device)
			}
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
