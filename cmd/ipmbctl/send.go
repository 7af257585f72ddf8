package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

type sendFlags struct {
	retryFlags
	addr              string
	lun, requesterLUN uint8
	failFast          bool
	broadcast         bool
}

func (a *app) sendCommand() *cobra.Command {
	var flags sendFlags
	command := &cobra.Command{
		Use:   "send BUS [ADDR] NETFN CMD [DATA...]",
		Short: "Send a request to a node on a bus and show the response",
		Long: `Send a request to a node on a bus and show the response: its completion code, its
data and, for Get Device ID, what the data mean.

ADDR is the node's address in its 8-bit form. Without ADDR the request goes to the
bus's remote address, which 'ipmbctl list' shows. NETFN and CMD are names or numbers.
DATA are numbers, one for each byte. A number is written 44, 0x2C or 2Ch.

The first word after BUS is ADDR or NETFN, whichever is possible: an address is 10h or
more, a network function is a name or an even number up to 0Ch or from 2Ch to 3Eh. A
line that can be read both ways, such as 0x2C 6 1, is refused; say which it is with
--addr. With --addr there is no ADDR among the words; --addr 0 is the bus's remote
address.
`,
		Example: `  ipmbctl send bus0 app get-device-id
  ipmbctl send bus0 0x20 app get-device-id
  ipmbctl send bus0 0x06 0x01
  ipmbctl send bus0 72h storage get-sdr 0 0 0 0 0 0xff
  ipmbctl send bus0 --addr 2Ch 0x2e 0xdf 0x57 0x01 0x00
  ipmbctl send bus0 --timeout 1s --tries 1 chassis get-chassis-status`,
		Args:              needBus(0),
		ValidArgsFunction: a.completeNames(1, false),
		RunE:              withFlags(&flags, a.send),
	}
	f := command.Flags()
	f.StringVar(&flags.addr, "addr", "", "`ADDR` of the node; 0 is the bus's remote address")
	f.Uint8Var(&flags.lun, "lun", 0, "`LUN` of the responder, 0 to 3")
	f.Uint8Var(&flags.requesterLUN, "requester-lun", 0, "`LUN` of the requester, 0 to 3")
	flags.define(command)
	f.BoolVar(&flags.failFast, "fail-fast", false, "give up at once if no node acknowledges the request")
	f.BoolVar(&flags.broadcast, "broadcast", false, "send to all nodes, and ADDR responds (Get Device ID only)")
	return command
}

// request makes the request from the words after BUS.
func (f sendFlags) request(words []string) (ipmb.Request, error) {
	r, err := parseRequest(words, f.addr)
	if err != nil {
		return r, err
	}
	if f.lun > uint8(ipmi.MaxLUN) || f.requesterLUN > uint8(ipmi.MaxLUN) {
		return r, usage("LUNs are 0 to %d", ipmi.MaxLUN)
	}
	r.LUN, r.RequesterLUN = ipmi.LUN(f.lun), ipmi.LUN(f.requesterLUN)
	r.FailFast, r.GeneralCall = f.failFast, f.broadcast
	r.RetryPolicy, err = f.policy()
	return r, err
}

func (a *app) send(ctx context.Context, args []string, flags sendFlags) error {
	request, err := flags.request(args[1:])
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(ipmbd *client.Client) error {
		bus, err := ipmbd.Bus(ctx, args[0])
		if err != nil {
			return err
		}
		if request.Responder == 0 {
			request.Responder = bus.RemoteAddress
		}
		begin := time.Now()
		response, err := ipmbd.Send(ctx, bus.Name, request)
		if err != nil {
			return explainError(ctx, ipmbd, bus, request.Responder, err)
		}
		err = a.showResponse(bus.Name, request, response, time.Since(begin))
		if err == nil && response.Code != ipmi.CodeOK {
			err = errBadCode
		}
		return err
	})
}

type sendJSON struct {
	Bus       string `json:"bus"`
	Responder uint8  `json:"responder"`
	commandJSON
	responseJSON
	Milliseconds float64 `json:"milliseconds"`
}

func (a *app) showResponse(bus string, r ipmb.Request, response ipmi.Response, took time.Duration) error {
	rows := [][]cell{
		row("request", fmt.Sprintf("%s %s", r.Responder, commandName(r.NetFn, r.Command))),
		{{text: "completion code"}, codeCell(r.NetFn, r.Command, response.Code)},
	}
	rows = append(rows, dataRows("data", response.Data)...)
	if device, ok := deviceOf(r.NetFn, r.Command, response); ok {
		rows = append(rows, deviceRows(device)...)
	}
	return a.show(sendJSON{
		bus, uint8(r.Responder), newCommandJSON(r.NetFn, r.LUN, r.Command),
		newResponseJSON(r.NetFn, r.Command, response), milliseconds(took),
	}, a.colour.table(rows))
}

// commandJSON is a command in a document. Network functions, commands, addresses and completion
// codes are numbers; their meaning stands beside them as text.
type commandJSON struct {
	NetFn   uint8  `json:"netFn"`
	LUN     uint8  `json:"lun"`
	Command uint8  `json:"command"`
	Name    string `json:"name"`
}

func newCommandJSON(n ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command) commandJSON {
	return commandJSON{uint8(n), uint8(lun), uint8(cmd), commandName(n, cmd)}
}

// commandName returns the name of a command, or its numbers: "app get-device-id".
func commandName(n ipmi.NetFn, cmd ipmi.Command) string {
	return n.String() + " " + ipmi.CommandName(n, cmd)
}

// codeCell shows a completion code and its meaning: "C1h invalid command".
func codeCell(n ipmi.NetFn, cmd ipmi.Command, code ipmi.CompletionCode) cell {
	sgr := red
	if code == ipmi.CodeOK {
		sgr = green
	}
	return cell{numbered(uint8(code)) + " " + code.Meaning(n, cmd), sgr}
}

// responseJSON is a response in a document.
type responseJSON struct {
	Code    uint8       `json:"completionCode"`
	Meaning string      `json:"meaning"`
	Data    []uint16    `json:"data"`
	Device  *deviceJSON `json:"device,omitempty"`
}

func newResponseJSON(n ipmi.NetFn, cmd ipmi.Command, r ipmi.Response) responseJSON {
	document := responseJSON{Code: uint8(r.Code), Meaning: r.Code.Meaning(n, cmd), Data: numbers(r.Data)}
	if device, ok := deviceOf(n, cmd, r); ok {
		document.Device = newDeviceJSON(device)
	}
	return document
}

// deviceOf decodes the response to Get Device ID.
func deviceOf(n ipmi.NetFn, cmd ipmi.Command, r ipmi.Response) (ipmi.DeviceID, bool) {
	if n != ipmi.NetFnApp || cmd != ipmi.CommandGetDeviceID || r.Code != ipmi.CodeOK {
		return ipmi.DeviceID{}, false
	}
	device, err := ipmi.DecodeDeviceID(r.Data)
	return device, err == nil
}

type deviceJSON struct {
	ID           uint8    `json:"id"`
	Revision     uint8    `json:"revision"`
	Firmware     string   `json:"firmware"`
	Auxiliary    []uint16 `json:"auxiliary,omitempty"`
	IPMI         string   `json:"ipmi"`
	Manufacturer uint32   `json:"manufacturer"`
	Product      uint16   `json:"product"`
	ProvidesSDRs bool     `json:"providesSDRs"`
	Updating     bool     `json:"updating"`
	Supports     []string `json:"supports"`
}

func newDeviceJSON(d ipmi.DeviceID) *deviceJSON {
	device := &deviceJSON{
		ID: d.ID, Revision: d.Revision, Firmware: d.Firmware(), IPMI: d.IPMIVersion(),
		Manufacturer: d.Manufacturer, Product: d.Product,
		ProvidesSDRs: d.ProvidesSDRs, Updating: d.Updating, Supports: []string{},
	}
	if d.HasAuxiliary {
		device.Auxiliary = numbers(d.Auxiliary[:])
	}
	for bit := range 8 {
		if one := d.Support & (1 << bit); one != 0 {
			device.Supports = append(device.Supports, one.String())
		}
	}
	return device
}

// deviceRows show the response to Get Device ID.
func deviceRows(d ipmi.DeviceID) [][]cell {
	device := fmt.Sprintf("%02Xh revision %d", d.ID, d.Revision)
	if d.ProvidesSDRs {
		device += ", with SDRs"
	}
	firmware := d.Firmware()
	if d.HasAuxiliary {
		firmware += fmt.Sprintf(" (auxiliary %X)", d.Auxiliary)
	}
	if d.Updating {
		firmware += ", updating or initializing"
	}
	return [][]cell{
		row("device", device),
		row("firmware", firmware),
		row("IPMI version", d.IPMIVersion()),
		row("manufacturer", fmt.Sprintf("%d (%06Xh)", d.Manufacturer, d.Manufacturer)),
		row("product", fmt.Sprintf("%d (%04Xh)", d.Product, d.Product)),
		row("supports", d.Support.String()),
	}
}
