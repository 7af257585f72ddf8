package main

import (
	"fmt"
	"time"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
)

// The documents of --json. Addresses, network functions, commands and
// completion codes are numbers; what they mean stands beside them as text.

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

func newBusJSON(bus dbusapi.BusInfo) busJSON {
	return busJSON{
		Name: bus.Name, Path: string(bus.Path), Device: bus.Device, Transport: bus.Transport,
		Channel: uint8(bus.Channel), Index: bus.Index,
		Own: uint8(bus.OwnAddress), Remote: uint8(bus.RemoteAddress),
		State: string(bus.State), StateReason: bus.Reason,
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

func newInfoJSON(bus dbusapi.BusInfo) infoJSON {
	return infoJSON{newBusJSON(bus), bus.Policy.Timeout.Milliseconds(), bus.Policy.Tries, bus.IgnoreNACK, bus.VerifyChecksum, bus.Statistics}
}

// hostJSON is a host interface. As with a bus, path is that of its object on D-Bus,
// and device may be a socket.
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

func newHostJSON(host dbusapi.HostInfo) hostJSON {
	return hostJSON{
		Name: host.Name, Path: string(host.Object), Device: host.Path, Type: host.Type,
		Channel: uint8(host.Channel), Handler: host.Handler, State: string(host.State), StateReason: host.Reason,
	}
}

type hostInfoJSON struct {
	hostJSON
	Statistics map[string]uint64 `json:"statistics"`
}

func newHostInfoJSON(host dbusapi.HostInfo) hostInfoJSON {
	return hostInfoJSON{newHostJSON(host), host.Statistics}
}

// newMemberJSON is a busJSON or a hostJSON.
func newMemberJSON(m dbusapi.Member) any {
	if m.Host != nil {
		return newHostJSON(*m.Host)
	}
	return newBusJSON(*m.Bus)
}

// byteList is data as an array of numbers.
type byteList []byte

// MarshalJSON implements json.Marshaler.
func (l byteList) MarshalJSON() ([]byte, error) {
	text := []byte{'['}
	for i, b := range l {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Append(text, b)
	}
	return append(text, ']'), nil
}

// answerJSON is what a responder has answered.
type answerJSON struct {
	Code    uint8       `json:"completionCode"`
	Meaning string      `json:"meaning"`
	Data    byteList    `json:"data"`
	Device  *deviceJSON `json:"device,omitempty"`
}

func newAnswerJSON(n ipmi.NetFn, cmd ipmi.Command, r ipmi.Response) answerJSON {
	answer := answerJSON{Code: uint8(r.Code), Meaning: r.Code.Meaning(n, cmd), Data: r.Data}
	if device, ok := deviceOf(n, cmd, r); ok {
		answer.Device = newDeviceJSON(device)
	}
	return answer
}

type deviceJSON struct {
	ID           uint8    `json:"id"`
	Revision     uint8    `json:"revision"`
	Firmware     string   `json:"firmware"`
	Auxiliary    byteList `json:"auxiliary,omitempty"`
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
		device.Auxiliary = d.Auxiliary[:]
	}
	for bit := range 8 {
		if one := d.Support & (1 << bit); one != 0 {
			device.Supports = append(device.Supports, one.String())
		}
	}
	return device
}

// deviceOf is the device that a message describes, if it is an answer to Get
// Device ID.
func deviceOf(n ipmi.NetFn, cmd ipmi.Command, r ipmi.Response) (ipmi.DeviceID, bool) {
	if n != ipmi.NetFnApp || cmd != ipmi.CommandGetDeviceID || r.Code != ipmi.CodeOK {
		return ipmi.DeviceID{}, false
	}
	device, err := ipmi.DecodeDeviceID(r.Data)
	return device, err == nil
}

// milliseconds are what durations are in JSON.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
