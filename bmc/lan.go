package bmc

import (
	"fmt"

	"ipmbd/ipmi"
)

// lanCommands keep the configuration of the LAN channel (IPMI v2.0, section 23).
// Nobody serves that channel here: who does reads it from the Settings.
var lanCommands = []command{
	{ipmi.NetFnTransport, 0x01, 2, 2 + communityLength, waits, setLAN},
	{ipmi.NetFnTransport, 0x02, 4, 4, atOnce, getLAN},
}

// communityLength is that of the longest parameter.
const communityLength = 18

// lanParameter is a parameter of the LAN channel.
type lanParameter struct {
	initial  []byte // and hence its length
	readOnly bool
	valid    func(data []byte) bool // nil: everything is
}

// lanParameters are those of table 23-4 that make sense without sessions and
// alerts; authentication types and cipher suites are none.
var lanParameters = map[byte]lanParameter{
	1:  {initial: []byte{0}, readOnly: true},                   // authentication types supported
	2:  {initial: make([]byte, 5), valid: isZero},              // enabled, for each privilege level
	3:  {initial: make([]byte, 4)},                             // IP address
	4:  {initial: []byte{ipUnspecified}, valid: atMost(ipBMC)}, // its source
	5:  {initial: make([]byte, 6)},                             // MAC address
	6:  {initial: make([]byte, 4)},                             // subnet mask
	7:  {initial: []byte{0x40, 0x40, 0x10}},                    // IPv4 header: time to live, flags, precedence and type of service
	8:  {initial: []byte{0x6F, 0x02}},                          // primary RMCP port: 623
	9:  {initial: []byte{0x98, 0x02}},                          // secondary RMCP port: 664
	10: {initial: []byte{0}, valid: atMost(3)},                 // ARP: gratuitous, responses
	11: {initial: []byte{0}},                                   // interval of gratuitous ARP
	12: {initial: make([]byte, 4)},                             // default gateway
	13: {initial: make([]byte, 6)},                             // its MAC address
	14: {initial: make([]byte, 4)},                             // backup gateway
	15: {initial: make([]byte, 6)},                             // its MAC address
	16: {initial: community("public")},                         // of SNMP
	17: {initial: []byte{0}, readOnly: true},                   // number of destinations of alerts
	20: {initial: make([]byte, 2)},                             // VLAN ID, and whether it is enabled
	21: {initial: []byte{0}, valid: atMost(7)},                 // VLAN priority
	22: {initial: []byte{0}, readOnly: true},                   // number of cipher suites
	23: {initial: []byte{0}, readOnly: true},                   // the cipher suites
	24: {initial: make([]byte, 9)},                             // their privilege levels
	26: {initial: make([]byte, 6)},                             // bad password threshold
}

// Sources of the IP address (table 23-4, parameter 4).
const (
	ipUnspecified = 0
	ipBMC         = 4 // other software of the BMC
)

func isZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

func atMost(highest byte) func([]byte) bool {
	return func(data []byte) bool { return data[0] <= highest }
}

func community(name string) []byte {
	return append([]byte(name), make([]byte, communityLength-len(name))...)
}

func lanSetting(c ipmi.Channel, parameter byte) string { return fmt.Sprintf("lan/%d/%d", c, parameter) }

// lanChannel is the channel of a request, if it is one with a LAN.
func (b *BMC) lanChannel(req *ipmi.Request, reserved byte) (c ipmi.Channel, ok bool) {
	c, _ = b.channel(req, req.Data[0])
	return c, c == b.channels.Load().lan && req.Data[0]&reserved == 0
}

// setLAN takes channel, parameter and its data.
func setLAN(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.lanChannel(req, ^byte(channelBits))
	number, data := req.Data[1], req.Data[2:]
	p, known := lanParameters[number]
	switch {
	case !ok:
		return refuse(ipmi.CodeInvalidField)
	case number == parameterSetInProgress:
		return b.setProgress(fmt.Sprintf("lan/%d", c), data)
	case !known:
		return refuse(codeNoParameter)
	case p.readOnly:
		return refuse(codeReadOnly)
	case len(data) != len(p.initial):
		return refuse(ipmi.CodeLengthInvalid)
	case p.valid != nil && !p.valid(data):
		return refuse(ipmi.CodeInvalidField)
	}
	return b.keep(lanSetting(c, number), data...)
}

// getLAN takes channel, parameter, set and block selector, of which no parameter
// here has any.
func getLAN(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.lanChannel(req, reservedChannelBits)
	number := req.Data[1]
	p, known := lanParameters[number]
	switch {
	case !ok:
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
