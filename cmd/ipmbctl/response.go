package main

import (
	"fmt"

	"ipmbd/ipmi"
)

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
