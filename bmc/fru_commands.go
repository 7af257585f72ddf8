package bmc

import (
	"context"
	"encoding/binary"

	"ipmbd/ipmi"
)

// fruCommands are those of FRU inventory devices (IPMI v2.0, section 34).
var fruCommands = []command{
	{ipmi.NetFnStorage, 0x10, 1, 1, atOnce(getFRUArea)},
	{ipmi.NetFnStorage, 0x11, 4, 4, atOnce(readFRU)},
	{ipmi.NetFnStorage, 0x12, 4, 3 + 255, waits(writeFRU)},
}

const (
	accessByBytes = 0
	// What an answer has room for behind the count: on IPMB, 32 bytes long (IPMB
	// v1.0, section 2.11), and on the narrowest system interface, BT with 251.
	maxFRURead     = 250
	maxFRUReadIPMB = 23
)

// getFRUArea: size in bytes, and that it is accessed by bytes.
func getFRUArea(b *BMC, req *ipmi.Request) ipmi.Response {
	d := b.frus.find(req.Data[0])
	if d == nil {
		return refuse(ipmi.CodeNotPresent)
	}
	return answer(append(binary.LittleEndian.AppendUint16(nil, uint16(len(d.bytes()))), accessByBytes)...)
}

// readFRU takes device, offset and count. The answer may be shorter than that and
// says how long it is.
func readFRU(b *BMC, req *ipmi.Request) ipmi.Response {
	d, offset := b.frus.find(req.Data[0]), int(binary.LittleEndian.Uint16(req.Data[1:]))
	if d == nil {
		return refuse(ipmi.CodeNotPresent)
	}
	data := d.bytes()
	if offset >= len(data) {
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	count := min(int(req.Data[3]), len(data)-offset, maxFRURead)
	if req.Requester != 0 {
		count = min(count, maxFRUReadIPMB)
	}
	return answer(append([]byte{byte(count)}, data[offset:offset+count]...)...)
}

// writeFRU takes device, offset and bytes, and tells how many it has written.
func writeFRU(b *BMC, _ context.Context, req *ipmi.Request) ipmi.Response {
	d, part := b.frus.find(req.Data[0]), req.Data[3:]
	if d == nil {
		return refuse(ipmi.CodeNotPresent)
	}
	if code := d.write(int(binary.LittleEndian.Uint16(req.Data[1:])), part); code != ipmi.CodeOK {
		return refuse(code)
	}
	return answer(byte(len(part)))
}
