package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
)

func (a *app) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "events",
		Short: "Show the platform events live",
		Long: `Show the platform events that nodes and hosts send, live, one line each, until
Ctrl-C: where an event comes from, its sensor, whether it has begun or ended, its
type and its data.

Up to 25 events that no program has heard come first; no other program gets those.`,
		Example: `  ipmbctl events
  ipmbctl events --json | jq 'select(.asserted)'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.events(command.Context())
		},
	}
}

func (a *app) events(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	tell := a.teller("showing platform events; Ctrl-C ends it", a.showEvent)
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		return client.Events(ctx, a.showPlatformEvent, func(e dbusapi.Event) {
			if tell(e) != nil {
				stop()
			}
		})
	})
}

func (a *app) showPlatformEvent(e ipmi.Event) error {
	now := time.Now()
	if a.json {
		return a.out.json(newPlatformEventJSON(now, e))
	}
	c := a.colourFor(a.stdout)
	fmt.Fprintf(a.out, "%s  %s\n", c.paint(dim, now.Format(clock)), platformEventText(c, e))
	return a.out.err
}

// platformEventText is an event on a line, without its time.
func platformEventText(c colour, e ipmi.Event) string {
	direction := c.paint(red, "asserted")
	if !e.Asserted() {
		direction = c.paint(green, "deasserted")
	}
	return fmt.Sprintf("%-6s <- %-3s  sensor type %02Xh number %02Xh  %s  event type %02Xh  %s",
		orUnknown(e.Interface), from(e), e.Message[1], e.Message[2], direction, eventType(e), hexBytes(e.Data()))
}

// from is the address of who has sent an event; of software on a host it is
// odd.
func from(e ipmi.Event) ipmi.Address { return ipmi.Address(e.Generator) }

func eventType(e ipmi.Event) uint8 { return e.Message[3] & 0x7F }

// platformEventJSON is one line of events.
type platformEventJSON struct {
	Time         string   `json:"time"`
	Kind         string   `json:"kind"`
	Bus          string   `json:"bus"`
	Channel      uint8    `json:"channel"`
	From         uint8    `json:"from"`
	Generator    uint16   `json:"generator"`
	Revision     uint8    `json:"revision"`
	SensorType   uint8    `json:"sensorType"`
	SensorNumber uint8    `json:"sensorNumber"`
	Asserted     bool     `json:"asserted"`
	EventType    uint8    `json:"eventType"`
	Data         byteList `json:"data"`
}

func newPlatformEventJSON(now time.Time, e ipmi.Event) platformEventJSON {
	return platformEventJSON{
		Time: now.Format(time.RFC3339Nano), Kind: "event",
		Bus: e.Interface, Channel: uint8(e.Channel), From: uint8(from(e)), Generator: e.Generator,
		Revision: e.Message[0], SensorType: e.Message[1], SensorNumber: e.Message[2],
		Asserted: e.Asserted(), EventType: eventType(e), Data: e.Data(),
	}
}
