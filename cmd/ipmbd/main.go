// Command ipmbd puts the IPMI messages of a management controller on D-Bus.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"ipmbd/service"
	"ipmbd/service/config"
)

// version is set when the program is linked.
var version = "unknown"

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2

	gcPercent = 30 // instead of 100: the memory of a management controller is small
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `ipmbd puts the IPMI messages of a management controller on D-Bus.

Usage:
  ipmbd [options]

Options:
  --config FILE         configuration file; default: the first that exists of
                        %s;
                        without one ipmbd serves each IPMB device that it finds
  --ipmbbridge          read the file of --config as ipmbbridge's: leave out
                        entries with faults, and warn. The second of the files
                        above is read so without this option
  --dbus ADDRESS        message bus: system (default), session, or a D-Bus
                        address such as unix:path=/run/bus
  --check-config        check the configuration, report all faults, and exit
  --strict              with --check-config: a warning is an error
  --demo                serve two simulated buses instead of a configuration
  --log-level LEVEL     debug, info (default), warn or error
  --version             print the version and exit
  --help                print this help and exit

SIGHUP makes ipmbd read the configuration again, as 'ipmbctl reload' does.
Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage or configuration.
ipmbctl is its client for the shell: see ipmbctl --help.
`

// options are the command line.
type options struct {
	config, bus                string
	ipmbbridge, strict         bool
	checkConfig, demo, version bool
	logLevel                   zapcore.Level
}

// parse reads the command line. The error is flag.ErrHelp if it asks for the usage.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("ipmbd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.config, "config", "", "")
	flags.BoolVar(&o.ipmbbridge, "ipmbbridge", false, "")
	flags.BoolVar(&o.strict, "strict", false, "")
	flags.StringVar(&o.bus, "dbus", "system", "")
	flags.StringVar(&o.bus, "bus", "system", "") // as it was called before
	flags.BoolVar(&o.checkConfig, "check-config", false, "")
	flags.BoolVar(&o.demo, "demo", false, "")
	flags.TextVar(&o.logLevel, "log-level", zapcore.InfoLevel, "")
	flags.BoolVar(&o.version, "version", false, "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.demo && o.config != "":
		return o, errors.New("--demo has its own configuration: leave out --config")
	case o.ipmbbridge && o.config == "":
		return o, errors.New("--ipmbbridge says how to read the file of --config, which is missing")
	case o.strict && !o.checkConfig:
		return o, errors.New("--strict belongs to --check-config")
	}
	return o, nil
}

// run runs the program and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, usage, knownFiles())
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "ipmbd: %v\nipmbd --help shows the options\n", err)
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, "ipmbd", version)
		return exitOK
	}
	// SIGHUP is caught before the configuration is read: by default it would end the program.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	log := newLogger(o.logLevel, stderr)
	defer log.Sync()
	read, warnings, err := configure(o)
	switch {
	case err != nil:
		report(stderr, o, err)
		return exitUsage
	case o.checkConfig:
		return checked(o, read, warnings, stdout, stderr)
	}
	for _, warning := range warnings {
		log.Warn("configuration", zap.String("warning", warning.Error()))
	}
	options := service.Options{Config: read, Reload: reload, Bus: o.bus, Demo: o.demo, Log: log}
	if !o.demo {
		options.Find = o.source
	}
	switch err := service.Run(ctx, options); {
	case errors.Is(err, service.ErrWrongConfig):
		fmt.Fprintf(stderr, "ipmbd: %v\n", err)
		return exitUsage
	case err != nil:
		log.Error("stopped", zap.Error(err))
		return exitFailed
	}
	return exitOK
}

// knownFiles names the files that a start looks for.
func knownFiles() string {
	var paths []string
	for _, source := range config.Known() {
		paths = append(paths, source.Path)
	}
	return strings.Join(paths, ", ")
}

// source is where the configuration is now.
func (o options) source() config.Source {
	if o.config != "" {
		return config.Named(o.config, o.ipmbbridge)
	}
	return config.Find(config.Known())
}

// configure finds and reads the configuration.
func configure(o options) (config.Config, []config.Fault, error) {
	if o.demo {
		return service.DemoConfig(), nil, nil
	}
	read, warnings, err := config.Load(o.source())
	if err != nil {
		return config.Config{}, nil, err
	}
	return *read, warnings, nil
}

// report prints an error of a configuration. Each fault is a line with its place.
func report(stderr io.Writer, o options, err error) {
	if !errors.As(err, new(config.Fault)) {
		fmt.Fprintf(stderr, "ipmbd: %v\n", err)
		return
	}
	fmt.Fprintln(stderr, err)
	if source := o.source(); !source.OfIPMBBridge && filepath.Base(source.Path) == "ipmb-channels.json" {
		fmt.Fprintln(stderr, "ipmbd: if this file is ipmbbridge's, say so: --ipmbbridge")
	}
}

// checked ends a check of a configuration that has no error, and returns the exit code.
func checked(o options, read config.Config, warnings []config.Fault, stdout, stderr io.Writer) int {
	if read.Found {
		warnings = []config.Fault{{Warning: true, Problem: "there is no configuration file (" + knownFiles() +
			"): ipmbd would serve each IPMB device that it finds"}}
	}
	for _, warning := range warnings {
		fmt.Fprintln(stderr, warning.Error())
	}
	if o.strict && len(warnings) > 0 {
		fmt.Fprintf(stderr, "ipmbd: warnings: %d; with --strict each is an error\n", len(warnings))
		return exitUsage
	}
	fmt.Fprintln(stdout, "configuration is good")
	return exitOK
}
