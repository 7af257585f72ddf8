package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"ipmbd/service"
)

// version is set when the program is linked.
var version = "unknown"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `ipmbd puts the IPMI messages of a management controller's buses on D-Bus.

Usage:
  ipmbd [options]

Options:
  --config FILE         configuration; without it the first of
                        %s that is there
  --bus ADDRESS         message bus: system (default), session, or a D-Bus
                        address such as unix:path=/run/bus
  --check-config        check the configuration, report all faults, and exit
  --demo                two simulated buses in place of a configuration
  --log-level LEVEL     debug, info (default), warn or error
  --version             print the version and exit
  --help                print this and exit

SIGHUP makes it read the configuration again, as 'ipmbctl reload' does.
Exit status: 0 stopped as asked, 1 failed, 2 wrong usage or configuration.
See ipmbctl --help for a client.
`

// options are the command line.
type options struct {
	config      string
	bus         string
	checkConfig bool
	demo        bool
	logLevel    zapcore.Level
	version     bool
}

// parse reads the command line. flag.ErrHelp asks for the usage.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("ipmbd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.bus, "bus", "system", "")
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
		return o, errors.New("--demo brings its own configuration: leave out --config")
	}
	return o, nil
}

// run is the program: its exit code is returned.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, usage, service.ConfigPaths())
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "ipmbd: %v\nipmbd --help shows the options\n", err)
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, "ipmbd", version)
		return exitOK
	}
	// From now on, so that it ends nobody who has not read the configuration yet.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	log := newLogger(o.logLevel, stderr)
	defer log.Sync()
	config, err := configure(o, log)
	if err != nil {
		fmt.Fprintf(stderr, "ipmbd: %v\n", err)
		return exitUsage
	}
	if o.checkConfig {
		fmt.Fprintln(stdout, "configuration is good")
		return exitOK
	}
	options := service.Options{Config: config, Find: o.find(), Reload: reload, Bus: o.bus, Demo: o.demo, Log: log}
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

// find finds the configuration; it is nil where there is no file.
func (o options) find() func() (file string, err error) {
	if o.demo {
		return nil
	}
	return func() (string, error) { return service.FindConfig(o.config) }
}

// configure finds and reads the configuration; its warnings are logged.
func configure(o options, log *zap.Logger) (service.Config, error) {
	find := o.find()
	if find == nil {
		return service.DemoConfig(), nil
	}
	file, err := find()
	if err != nil {
		return service.Config{}, err
	}
	read, warnings, err := service.LoadConfig(file)
	if err != nil {
		return service.Config{}, err
	}
	for _, warning := range warnings {
		log.Warn("configuration", zap.Stringer("warning", warning))
	}
	return *read, nil
}
