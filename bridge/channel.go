package bridge

import "ipmbd/ipmi"

// Medium is the medium of a channel (IPMI v2.0, table 6-3).
type Medium uint8

// Media.
const (
	MediumIPMB            Medium = 0x01
	MediumLAN             Medium = 0x04
	MediumSystemInterface Medium = 0x0C
)

// Protocol is the protocol of a channel on its medium (IPMI v2.0, table 6-2).
type Protocol uint8

// Protocols.
const (
	ProtocolIPMB Protocol = 0x01
	ProtocolSSIF Protocol = 0x04
	ProtocolKCS  Protocol = 0x05
	ProtocolBT   Protocol = 0x08
)

const (
	// Session support in bits 7:6; no session is active (IPMI v2.0, table 22-29).
	sessionLess  = 0x00
	multiSession = 0x80
	// noInterrupt: the interrupt of the system interface is not specified.
	noInterrupt = 0xFF
)

// vendor is the IANA number of the IPMI forum, 7154, which has defined the protocols.
var vendor = []byte{0xF2, 0x1B, 0x00}

// getChannelInfo serves Get Channel Info: channel, medium, protocol, sessions, vendor and two
// auxiliary bytes, on a system interface its interrupts.
func getChannelInfo(i *Interface, req *ipmi.Request) ipmi.Response {
	found := i.bridge.interfaceOf(i, ipmi.Channel(req.Data[0]))
	if found == nil {
		return refuse(ipmi.CodeInvalidField)
	}
	c := found.config
	sessions := byte(sessionLess)
	if c.Medium == MediumLAN {
		sessions = multiSession
	}
	info := append([]byte{byte(c.Channel), byte(c.Medium), byte(c.Protocol), sessions}, vendor...)
	if c.Medium == MediumSystemInterface {
		return answer(append(info, noInterrupt, noInterrupt)...)
	}
	return answer(append(info, 0, 0)...)
}

// States in Enable Message Channel Receive (IPMI v2.0, section 22.5).
const (
	receiveDisable = 0
	receiveEnable  = 1
	receiveGet     = 2
)

// enableReceive serves Enable Message Channel Receive: whether the SMS messages of a channel come
// into the interface's queue.
func enableReceive(i *Interface, req *ipmi.Request) ipmi.Response {
	found := i.bridge.interfaceOf(i, ipmi.Channel(req.Data[0]))
	if found == nil || found.bus == nil {
		return refuse(ipmi.CodeInvalidField)
	}
	channel := found.config.Channel
	switch req.Data[1] {
	case receiveDisable:
		i.disabled |= channel.Mask()
	case receiveEnable:
		i.disabled &^= channel.Mask()
	case receiveGet:
	default:
		return refuse(ipmi.CodeInvalidField)
	}
	if i.disabled.Has(channel) {
		return answer(byte(channel), receiveDisable)
	}
	return answer(byte(channel), receiveEnable)
}
