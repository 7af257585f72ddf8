package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
)

func (a *app) handlersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "handlers",
		Short: "List what answers which requests",
		Long: `List what answers the requests that come in: first the handlers that programs have
registered, one line for each of their patterns, then what answers all other
requests of each bus.`,
		Example: `  ipmbctl handlers
  ipmbctl handlers --json | jq '.handlers[].patterns[].text'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.handlers(command.Context())
		},
	}
}

func (a *app) handlers(ctx context.Context) error {
	return a.withClient(ctx, func(client *dbusapi.Client) error {
		handlers, err := client.Handlers(ctx)
		if err != nil {
			return err
		}
		buses, err := client.Buses(ctx)
		if err != nil {
			return err
		}
		if a.json {
			return a.out.json(newHandlersJSON(handlers, buses))
		}
		a.showHandlers(handlers, buses)
		return nil
	})
}

func (a *app) showHandlers(handlers []dbusapi.HandlerInfo, buses []dbusapi.BusInfo) {
	c := a.colourFor(a.stdout)
	if len(handlers) > 0 {
		rows := [][]cell{heading("OWNER", "PATH", "COMMANDS")}
		for _, h := range handlers {
			for _, p := range h.Patterns {
				rows = append(rows, []cell{{text: ownerText(h)}, {text: string(h.Path)}, {text: p.String()}})
			}
		}
		fmt.Fprintln(a.out, table(c, rows))
	} else {
		a.note("no program has registered a handler")
	}
	rows := [][]cell{heading("BUS", "HANDLER", "ANSWERS ALL OTHER REQUESTS")}
	for _, bus := range buses {
		rows = append(rows, []cell{{text: bus.Name}, {text: bus.Handler}, {text: defaultTexts[bus.Handler]}})
	}
	fmt.Fprint(a.out, table(c, rows))
}

// ownerText names a program as the errors of ipmbd do.
func ownerText(h dbusapi.HandlerInfo) string {
	if h.Process == 0 {
		return h.Owner
	}
	return fmt.Sprintf("%s (process %d)", h.Owner, h.Process)
}

// defaultTexts say who answers what no program is registered for.
var defaultTexts = map[string]string{
	"host":   "the host IPMI daemon",
	"signal": "programs that hear ReceivedMessage",
	"bmc":    "ipmbd itself, as a small BMC",
	"none":   "nobody: C1h invalid command",
}

// handlersJSON is the document of handlers.
type handlersJSON struct {
	Handlers []handlerJSON `json:"handlers"`
	Buses    []defaultJSON `json:"buses"`
}

type handlerJSON struct {
	Owner    string        `json:"owner"`
	Process  uint32        `json:"process,omitempty"`
	Path     string        `json:"path"`
	Patterns []patternJSON `json:"patterns"`
}

// patternJSON is a pattern; without a command or a group it is every one.
type patternJSON struct {
	NetFn   uint8   `json:"netFn"`
	Command *uint8  `json:"command,omitempty"`
	Group   *uint32 `json:"group,omitempty"`
	Mask    uint32  `json:"channelMask"`
	Text    string  `json:"text"`
}

type defaultJSON struct {
	Bus     string `json:"bus"`
	Handler string `json:"handler"`
}

func newHandlersJSON(handlers []dbusapi.HandlerInfo, buses []dbusapi.BusInfo) handlersJSON {
	document := handlersJSON{Handlers: []handlerJSON{}, Buses: []defaultJSON{}}
	for _, h := range handlers {
		handler := handlerJSON{Owner: h.Owner, Process: h.Process, Path: string(h.Path)}
		for _, p := range h.Patterns {
			handler.Patterns = append(handler.Patterns, newPatternJSON(p))
		}
		document.Handlers = append(document.Handlers, handler)
	}
	for _, bus := range buses {
		document.Buses = append(document.Buses, defaultJSON{bus.Name, bus.Handler})
	}
	return document
}

func newPatternJSON(p ipmi.Pattern) patternJSON {
	pattern := patternJSON{NetFn: uint8(p.NetFn), Mask: uint32(p.Channels), Text: p.String()}
	if p.Command != ipmi.AnyCommand {
		pattern.Command = new(uint8(p.Command))
	}
	if p.Group != ipmi.AnyGroup {
		pattern.Group = new(p.Group)
	}
	return pattern
}
