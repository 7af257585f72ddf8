package bmc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"ipmbd/ipmi"
)

// lanCommands keep the configuration of the LAN channel (IPMI v2.0, section 23). The BMC does not
// serve that channel.
var lanCommands = []command{
	{ipmi.NetFnTransport, 0x01, 2, 2 + communityLength, waits, setLAN},
	{ipmi.NetFnTransport, 0x02, 4, 4, atOnce, getLAN},
}

// communityLength is the length of the longest parameter.
const communityLength = 18

// lanParameter is a parameter of the LAN channel.
type lanParameter struct {
	initial  []byte // and hence its length
	readOnly bool
	valid    func(data []byte) bool // nil if all data are valid
}

// lanParameters has the parameters of table 23-4 that make sense without sessions and alerts.
// There are no authentication types and no cipher suites.
var lanParameters = map[byte]lanParameter{
	1:  {initial: []byte{0}, readOnly: true},                     // authentication types supported
	2:  {initial: make([]byte, 5), valid: noReservedTypes},       // enabled, for each privilege level
	3:  {initial: make([]byte, 4), valid: isUnicast},             // IP address
	4:  {initial: []byte{ipUnspecified}, valid: atMost(ipBMC)},   // its source
	5:  {initial: make([]byte, 6), valid: isStation},             // MAC address
	6:  {initial: make([]byte, 4), valid: isMask},                // subnet mask
	7:  {initial: []byte{0x40, 0x40, 0x10}, valid: isIPv4Header}, // time to live, flags, precedence and type of service
	8:  {initial: []byte{0x6F, 0x02}, valid: isPort},             // primary RMCP port: 623
	9:  {initial: []byte{0x98, 0x02}, valid: isPort},             // secondary RMCP port: 664
	10: {initial: []byte{0}, valid: atMost(3)},                   // ARP: gratuitous, responses
	11: {initial: []byte{0}},                                     // interval of gratuitous ARP
	12: {initial: make([]byte, 4), valid: isUnicast},             // default gateway
	13: {initial: make([]byte, 6), valid: isStation},             // its MAC address
	14: {initial: make([]byte, 4), valid: isUnicast},             // backup gateway
	15: {initial: make([]byte, 6), valid: isStation},             // its MAC address
	16: {initial: community("public"), valid: isASCII},           // of SNMP
	17: {initial: []byte{0}, readOnly: true},                     // number of destinations of alerts
	20: {initial: make([]byte, 2), valid: isVLAN},                // VLAN ID, and whether it is enabled
	21: {initial: []byte{0}, valid: atMost(7)},                   // VLAN priority
	22: {initial: []byte{0}, readOnly: true},                     // number of cipher suites
	23: {initial: []byte{0}, readOnly: true},                     // the cipher suites
	24: {initial: make([]byte, 9), valid: arePrivileges},         // their privilege levels
	26: {initial: make([]byte, 6), valid: atMost(1)},             // bad password threshold
}

// Sources of the IP address (table 23-4, parameter 4).
const (
	ipUnspecified = 0
	ipBMC         = 4 // other software of the BMC
)

const (
	lanEnabledTypes   = 2    // the parameter
	reservedTypesBits = 0xC8 // of each of its bytes
)

func noReservedTypes(data []byte) bool {
	return !slices.ContainsFunc(data, func(b byte) bool { return b&reservedTypesBits != 0 })
}

// isUnicast reports whether an IP address can be that of a node: not in the networks 0, except
// 0.0.0.0, which is none, nor 127, nor from 224 on (RFC 6890).
func isUnicast(ip []byte) bool {
	return isZero(ip) || ip[0] != 0 && ip[0] != 127 && ip[0] < 224
}

// isStation reports whether a MAC address is that of one station: not that of a group (IEEE 802).
func isStation(mac []byte) bool { return mac[0]&1 == 0 }

// isMask reports whether a subnet mask is ones and then zeros.
func isMask(mask []byte) bool {
	zeros := ^binary.BigEndian.Uint32(mask)
	return zeros&(zeros+1) == 0
}

// isIPv4Header reports whether the time to live is not 0 and the reserved bits are.
func isIPv4Header(data []byte) bool { return data[0] != 0 && data[1]&0x1F == 0 && data[2]&0x01 == 0 }

func isPort(data []byte) bool { return !isZero(data) }

// isVLAN reports whether the ID is one that a network can have, or 0 for none: 0 and FFFh are not
// (IEEE 802.1Q).
func isVLAN(data []byte) bool {
	const enabled, reserved, none = 1 << 15, 0x7000, 0xFFF
	tag := binary.LittleEndian.Uint16(data)
	return tag&reserved == 0 && tag&none != none && tag != enabled
}

// arePrivileges reports whether the first byte, which is reserved, is 0, and each half of the
// others is a privilege level or 0.
func arePrivileges(data []byte) bool {
	isLevel := func(b byte) bool { return b&privilegeBits <= privilegeOEM && b>>4 <= privilegeOEM }
	return data[0] == 0 && !slices.ContainsFunc(data[1:], func(b byte) bool { return !isLevel(b) })
}

func isZero(data []byte) bool { return len(bytes.Trim(data, "\x00")) == 0 }

func atMost(highest byte) func([]byte) bool {
	return func(data []byte) bool { return data[0] <= highest }
}

func community(name string) []byte {
	return append([]byte(name), make([]byte, communityLength-len(name))...)
}

func lanSetting(c ipmi.Channel, parameter byte) string { return fmt.Sprintf("lan/%d/%d", c, parameter) }

// setLAN takes channel, parameter and its data.
func setLAN(b *BMC, req *ipmi.Request) ipmi.Response {
	c, _ := b.channel(req, req.Data[0])
	number, data := req.Data[1], req.Data[2:]
	p, known := lanParameters[number]
	switch {
	case !b.isLAN(c) || req.Data[0]&^channelBits != 0:
		return refuse(ipmi.CodeInvalidField)
	case number == parameterSetInProgress:
		return b.setProgress(fmt.Sprintf("lan/%d", c), req.Host, data)
	case !known:
		return refuse(codeNoParameter)
	case p.readOnly:
		return refuse(codeReadOnly)
	case len(data) != len(p.initial):
		return refuse(ipmi.CodeLengthInvalid)
	case p.valid != nil && !p.valid(data):
		return refuse(ipmi.CodeInvalidField)
	case number == lanEnabledTypes && !isZero(data):
		// The data are valid, but no authentication type is supported. At CCh ipmitool would ask
		// again for 30 s.
		return refuse(ipmi.CodeNotInState)
	}
	return b.storeSetting(lanSetting(c, number), data...)
}

// getLAN takes channel, parameter, set and block selector. No parameter here has sets or blocks.
func getLAN(b *BMC, req *ipmi.Request) ipmi.Response {
	c, _ := b.channel(req, req.Data[0])
	number := req.Data[1]
	p, known := lanParameters[number]
	switch {
	case !b.isLAN(c), req.Data[0]&reservedChannelBits != 0, req.Data[2] != 0, req.Data[3] != 0:
		return refuse(ipmi.CodeInvalidField)
	case req.Data[0]&onlyRevision != 0:
		return answer(parameterRevision)
	case number == parameterSetInProgress:
		return answer(parameterRevision, b.progress(fmt.Sprintf("lan/%d", c)))
	case !known:
		return refuse(codeNoParameter)
	}
	return answer(append([]byte{parameterRevision}, b.setting(lanSetting(c, number), p.initial...)...)...)
}
