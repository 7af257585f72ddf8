package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmi"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the buses and the host interfaces",
		Long: `List the buses with their addresses, and the host interfaces, with the state of each.
A host interface that waits for a machine is Waiting, which is no fault. INDEX is the
number of a bus for clients of ipmbbridge, the channel of org.openbmc.Ipmb.
Notes on stderr name what else ipmbd cannot use, such as a broken disk.
A bus without a remote address or an index has '-' there; in JSON these are 0 and 255.
With --json, a bus has a 'transport' and a host interface has a 'type'.`,
		Example: `  ipmbctl list
  ipmbctl list --json | jq -r '.[] | select(.state == "Down") | .name'`,
		Args: noArgs,
		RunE: a.connected(a.list),
	}
}

func (a *app) list(ctx context.Context, ipmbd *client.Client, _ []string) error {
	endpoints, err := ipmbd.Endpoints(ctx)
	if err != nil {
		return err
	}
	faults, err := ipmbd.Faults(ctx)
	if err != nil {
		return err
	}
	for _, fault := range faults {
		a.note("%s", fault)
	}
	if len(endpoints) == 0 && !a.json {
		a.note("%s\n  %s", nothingServed, strings.ReplaceAll(howToServe, "\n", "\n  "))
		return nil
	}
	documents := []any{}
	buses := heading("NAME", "DEVICE", "TRANSPORT", "CHANNEL", "INDEX", "OWN", "REMOTE", "STATE")
	hosts := heading("NAME", "TYPE", "PATH", "CHANNEL", "HANDLER", "STATE")
	for _, e := range endpoints {
		if h := e.Host; h != nil {
			documents = append(documents, newHostJSON(*h))
			hosts = append(hosts, append(row(h.Name, h.Type, h.Path, fmt.Sprint(h.Channel), h.Handler),
				stateCell(h.State, h.Reason)))
			continue
		}
		b := e.Bus
		documents = append(documents, newBusJSON(*b))
		buses = append(buses, append(row(b.Name, b.Device, b.Transport, fmt.Sprint(b.Channel), indexText(b.Index),
			b.OwnAddress.String(), remoteText(b.RemoteAddress)), stateCell(b.State, b.Reason)))
	}
	var tables []string
	for _, rows := range [][][]cell{buses, hosts} {
		if len(rows) > 1 {
			tables = append(tables, a.colour.table(rows))
		}
	}
	return a.show(documents, strings.Join(tables, "\n"))
}

// noValue stands for a value that a bus does not have.
const noValue = "-"

// indexText shows an index. 255 is none: the number of the I2C bus makes no index.
func indexText(index uint8) string {
	if index == 0xFF {
		return noValue
	}
	return fmt.Sprint(index)
}

// remoteText shows a remote address, which a bus may lack.
func remoteText(a ipmi.Address) string {
	if a == 0 {
		return noValue
	}
	return a.String()
}

// stateColours are the colours of the states.
var stateColours = map[client.State]string{client.Up: green, client.Waiting: dim, client.Degraded: yellow, client.Down: red}

// stateCell shows a state and its reason.
func stateCell(state client.State, reason string) cell {
	text := string(state)
	if reason != "" {
		text += ": " + reason
	}
	return cell{text, stateColours[state]}
}

func (a *app) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info NAME",
		Short: "Show the properties and the statistics of a bus or a host interface",
		Long: `Show the properties of a bus or a host interface, and what it has counted since ipmbd
started. A bus counts frames, the results of calls (calls-...), and the frames that it
dropped and why (dropped-...). A host interface counts requests and their results.`,
		Example: `  ipmbctl info bus0
  ipmbctl info host0
  ipmbctl info bus0 --json | jq .statistics`,
		Args:              oneEndpoint,
		ValidArgsFunction: a.completeNames(1, true),
		RunE:              a.connected(a.info),
	}
}

func (a *app) info(ctx context.Context, ipmbd *client.Client, args []string) error {
	e, err := ipmbd.Endpoint(ctx, args[0])
	if err != nil {
		return err
	}
	statistics, err := ipmbd.Statistics(ctx, e)
	if err != nil {
		return err
	}
	if h := e.Host; h != nil {
		return a.showInfo(hostInfoJSON{newHostJSON(*h), statistics}, hostRows(*h), statistics)
	}
	document := infoJSON{newBusJSON(*e.Bus), e.Bus.Policy.Timeout.Milliseconds(), e.Bus.Policy.Tries,
		e.Bus.IgnoreNACK, e.Bus.VerifyChecksum, statistics}
	return a.showInfo(document, busRows(*e.Bus), statistics)
}

// showInfo shows properties, and the counters that are not 0.
func (a *app) showInfo(document any, properties [][]cell, statistics map[string]uint64) error {
	var counters [][]cell
	for _, name := range slices.Sorted(maps.Keys(statistics)) {
		if n := statistics[name]; n > 0 {
			counters = append(counters, row(name, fmt.Sprint(n)))
		}
	}
	return a.show(document, fmt.Sprintf("%s\n%s\n%s", a.colour.table(properties),
		a.colour.paint(bold, "counted since ipmbd started (what is not listed is 0)"), a.colour.table(counters)))
}

func hostRows(h client.Host) [][]cell {
	return [][]cell{
		row("name", h.Name),
		row("object", string(h.Object)),
		row("path", h.Path),
		row("type", h.Type),
		row("channel", fmt.Sprint(h.Channel)),
		row("handler", h.Handler),
		{{text: "state"}, stateCell(h.State, h.Reason)},
	}
}

func busRows(b client.Bus) [][]cell {
	rows := [][]cell{
		row("name", b.Name),
		row("object", string(b.Path)),
		row("device", b.Device),
		row("transport", b.Transport),
		row("channel", fmt.Sprint(b.Channel)),
		row("index", indexText(b.Index)),
		row("own address", b.OwnAddress.String()),
		row("remote address", remoteText(b.RemoteAddress)),
		{{text: "state"}, stateCell(b.State, b.Reason)},
		row("timeout", b.Policy.Timeout.String()),
		row("tries", fmt.Sprint(b.Policy.Tries)),
	}
	if b.Transport == "ipmb-device" { // Only the driver of this transport has switches.
		rows = append(rows, row("ignore NACK", onOff[b.IgnoreNACK]),
			row("verify header checksum", onOff[b.VerifyChecksum]))
	}
	return rows
}

var onOff = map[bool]string{true: "on", false: "off"}

type busJSON struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	Device      string `json:"device"`
	Transport   string `json:"transport"`
	Channel     uint8  `json:"channel"`
	Index       uint8  `json:"index"`
	Own         uint8  `json:"ownAddress"`
	Remote      uint8  `json:"remoteAddress"`
	State       string `json:"state"`
	StateReason string `json:"stateReason,omitempty"`
}

func newBusJSON(b client.Bus) busJSON {
	return busJSON{
		Name: b.Name, Path: string(b.Path), Device: b.Device, Transport: b.Transport,
		Channel: uint8(b.Channel), Index: b.Index, Own: uint8(b.OwnAddress), Remote: uint8(b.RemoteAddress),
		State: string(b.State), StateReason: b.Reason,
	}
}

type infoJSON struct {
	busJSON
	TimeoutMs  int64             `json:"timeoutMs"`
	Tries      int               `json:"tries"`
	IgnoreNACK bool              `json:"ignoreNack"`
	Verify     bool              `json:"verifyHeaderChecksum"`
	Statistics map[string]uint64 `json:"statistics"`
}

// hostJSON is a host interface. As with a bus, path is the D-Bus object; device may be a socket.
type hostJSON struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	Device      string `json:"device"`
	Type        string `json:"type"`
	Channel     uint8  `json:"channel"`
	Handler     string `json:"handler"`
	State       string `json:"state"`
	StateReason string `json:"stateReason,omitempty"`
}

func newHostJSON(h client.Host) hostJSON {
	return hostJSON{
		Name: h.Name, Path: string(h.Object), Device: h.Path, Type: h.Type,
		Channel: uint8(h.Channel), Handler: h.Handler, State: string(h.State), StateReason: h.Reason,
	}
}

type hostInfoJSON struct {
	hostJSON
	Statistics map[string]uint64 `json:"statistics"`
}

func (a *app) handlersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "handlers",
		Short: "List what responds to which requests",
		Long: `List what responds to incoming requests: first the handlers that programs have
registered, one line for each pattern, then what responds to all other requests of each
bus.`,
		Example: `  ipmbctl handlers
  ipmbctl handlers --json | jq '.handlers[].patterns[].text'`,
		Args: noArgs,
		RunE: a.connected(a.handlers),
	}
}

// defaultTexts describe the values of the property Handler.
var defaultTexts = map[string]string{
	"host":   "the host IPMI daemon",
	"signal": "programs that hear ReceivedMessage",
	"bmc":    "ipmbd itself, as a small BMC",
	"none":   "nobody: C1h invalid command",
}

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

// patternJSON is a pattern. Without a command, or a group, it matches all of them.
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

func (a *app) handlers(ctx context.Context, ipmbd *client.Client, _ []string) error {
	handlers, err := ipmbd.Handlers(ctx)
	if err != nil {
		return err
	}
	buses, err := ipmbd.Buses(ctx) // After an error the handlers are shown all the same.
	if len(handlers) == 0 && !a.json {
		a.note("no program has registered a handler")
	}
	document := handlersJSON{Handlers: []handlerJSON{}, Buses: []defaultJSON{}}
	text := ""
	rows := heading("OWNER", "PATH", "COMMANDS")
	for _, h := range handlers {
		handler := handlerJSON{Owner: h.Owner, Process: h.Process, Path: string(h.Path)}
		for _, p := range h.Patterns {
			handler.Patterns = append(handler.Patterns, newPatternJSON(p))
			rows = append(rows, row(ownerText(h), handler.Path, p.String()))
		}
		document.Handlers = append(document.Handlers, handler)
	}
	if len(handlers) > 0 {
		text = a.colour.table(rows) + "\n"
	}
	if err != nil {
		return cmp.Or(a.show(document, text), err)
	}
	rows = heading("BUS", "HANDLER", "ANSWERS ALL OTHER REQUESTS")
	for _, bus := range buses {
		document.Buses = append(document.Buses, defaultJSON{bus.Name, bus.Handler})
		rows = append(rows, row(bus.Name, bus.Handler, defaultTexts[bus.Handler]))
	}
	return a.show(document, text+a.colour.table(rows))
}

// ownerText names a program as the errors of ipmbd do.
func ownerText(h client.Handler) string {
	if h.Process == 0 {
		return h.Owner
	}
	return fmt.Sprintf("%s (process %d)", h.Owner, h.Process)
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
