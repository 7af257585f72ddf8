package bmc

import (
	"ipmbd/ipmi"
)

// channelCommands say who may use a channel (IPMI v2.0, sections 22.13, 22.22 and
// 22.23). No channel has sessions: that of the LAN is configured here and served
// by nobody.
var channelCommands = []command{
	{ipmi.NetFnApp, 0x38, 2, 2, atOnce, getAuthenticationCapabilities},
	{ipmi.NetFnApp, 0x40, 3, 3, atOnce, setChannelAccess},
	{ipmi.NetFnApp, 0x41, 2, 2, atOnce, getChannelAccess},
}

// DefaultLANChannel is the channel of the LAN where none is configured.
const DefaultLANChannel ipmi.Channel = 1

const (
	channelBits         = 0x0F
	privilegeBits       = 0x0F
	privilegeCallback   = 1
	privilegeAdmin      = 4
	privilegeOEM        = 5
	privilegeNone       = 0x0F // no access
	alertingDisabled    = 1 << 5
	accessDisabled      = 0 // for IPMI messaging
	accessStored        = 1 // asked for: what is kept
	accessPresent       = 2 // asked for: what holds now
	accessKindShift     = 6
	reservedChannelBits = 0x70
	reservedAccessBits  = 0x3F

	accessLeft        = 0 // to be set: nothing
	accessModeBits    = 0x07
	reservedLimitBits = 0x30

	// codeSessionless: the channel has no sessions (sections 22.22 and 22.23).
	codeSessionless ipmi.CompletionCode = 0x82
	// codeNoAccessMode: the access mode is not supported (section 22.22).
	codeNoAccessMode ipmi.CompletionCode = 0x83
)

// channels are those that there are beside the one that a request comes in on.
type channels struct {
	lan    ipmi.Channel
	others ipmi.ChannelMask
}

// SetChannels says which channels exist, beside the one a request comes in on: the
// one that has LAN configuration parameters, 0 for DefaultLANChannel, and others.
func (b *BMC) SetChannels(lan ipmi.Channel, others ipmi.ChannelMask) {
	if lan == 0 {
		lan = DefaultLANChannel
	}
	b.channels.Store(&channels{lan, others})
}

// channel is the number that a request means, and whether there is such a
// channel.
func (b *BMC) channel(req *ipmi.Request, number byte) (c ipmi.Channel, ok bool) {
	c = ipmi.Channel(number & channelBits)
	if c == ipmi.ChannelCurrent {
		c = req.Channel
	}
	known := b.channels.Load()
	return c, c == req.Channel || c == known.lan || known.others.Has(c)
}

// getAuthenticationCapabilities takes channel and privilege level. The answer is
// the channel, authentication types, their state, sessions of IPMI 1.5 and 2.0,
// OEM ID and data: there is nothing of these.
func getAuthenticationCapabilities(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.channel(req, req.Data[0])
	if level := req.Data[1]; !ok || req.Data[0]&reservedChannelBits != 0 || level < privilegeCallback || level > privilegeOEM {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(byte(c), 0, 0, 0, 0, 0, 0, 0)
}

// setChannelAccess takes channel, access and the limit of privileges. It accepts
// what there is.
func setChannelAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.channel(req, req.Data[0])
	access, limit := req.Data[1], req.Data[2]
	setAccess, setLimit := access>>accessKindShift, limit>>accessKindShift
	switch {
	case !ok, req.Data[0]&^channelBits != 0, limit&reservedLimitBits != 0, setAccess > accessPresent, setLimit > accessPresent:
		return refuse(ipmi.CodeInvalidField)
	case c != b.channels.Load().lan:
		return refuse(codeSessionless)
	case setAccess != accessLeft && access&accessModeBits != accessDisabled:
		return refuse(codeNoAccessMode)
	case setAccess != accessLeft && access&reservedAccessBits != alertingDisabled,
		setLimit != accessLeft && limit&privilegeBits != privilegeAdmin:
		return refuse(ipmi.CodeInvalidField)
	}
	return answer()
}

// getChannelAccess takes channel, and whether what is stored or what holds is
// wanted.
func getChannelAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.channel(req, req.Data[0])
	kind := req.Data[1] >> accessKindShift
	switch {
	case !ok, req.Data[0]&^channelBits != 0, req.Data[1]&reservedAccessBits != 0, kind != accessStored && kind != accessPresent:
		return refuse(ipmi.CodeInvalidField)
	case c != b.channels.Load().lan:
		return refuse(codeSessionless)
	}
	return answer(alertingDisabled|accessDisabled, privilegeAdmin)
}

// payloadCommands say that there are no payloads, as there are no sessions that
// carry them (IPMI v2.0, section 24).
var payloadCommands = []command{
	{ipmi.NetFnApp, 0x48, 6, 6, atOnce, changePayload}, // Activate Payload
	{ipmi.NetFnApp, 0x49, 6, 6, atOnce, changePayload}, // Deactivate Payload
	{ipmi.NetFnApp, 0x4A, 1, 1, atOnce, noPayload},     // Get Payload Activation Status
	{ipmi.NetFnApp, 0x4B, 2, 2, atOnce, noPayload},     // Get Payload Instance Info
	{ipmi.NetFnApp, 0x4E, 1, 1, atOnce, getPayloadSupport},
}

const (
	reservedPayloadBits  = 0xC0
	reservedInstanceBits = 0xF0

	// codePayloadDisabled: the payload type is disabled (sections 24.1 and 24.2).
	codePayloadDisabled ipmi.CompletionCode = 0x81
)

// changePayload takes type, instance, and four bytes that are the type's.
func changePayload(_ *BMC, req *ipmi.Request) ipmi.Response {
	if req.Data[0]&reservedPayloadBits != 0 || req.Data[1]&reservedInstanceBits != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	return refuse(codePayloadDisabled)
}

// noPayload takes a type, of which there is none.
func noPayload(*BMC, *ipmi.Request) ipmi.Response {
	return refuse(ipmi.CodeInvalidField)
}

// getPayloadSupport takes a channel: the types that it carries, standard, for the
// setup of sessions, and OEM, and two reserved bytes.
func getPayloadSupport(b *BMC, req *ipmi.Request) ipmi.Response {
	if c, _ := b.channel(req, req.Data[0]); req.Data[0]&^channelBits != 0 || c != b.channels.Load().lan {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(make([]byte, 8)...)
}

// pefCommands say that events are filtered by nobody (IPMI v2.0, section 30).
var pefCommands = []command{
	{ipmi.NetFnSensor, 0x10, 0, 0, atOnce, getPEFCapabilities},
	{ipmi.NetFnSensor, 0x12, 1, 1 + filterLength, atOnce, setPEF},
	{ipmi.NetFnSensor, 0x13, 3, 3, atOnce, getPEF},
}

const (
	pefVersion = 0x51 // 1.5, BCD with the major digit in bits 3:0
	pefSet     = "pef"
	// filterLength is that of the longest parameter, a filter with its number.
	filterLength = 21
)

// getPEFCapabilities: version, actions and filters that there are.
func getPEFCapabilities(*BMC, *ipmi.Request) ipmi.Response {
	return answer(pefVersion, 0, 0)
}

// setPEF takes parameter and data.
func setPEF(b *BMC, req *ipmi.Request) ipmi.Response {
	switch parameter := req.Data[0]; {
	case parameter&^parameterSelector != 0:
		return refuse(ipmi.CodeInvalidField)
	case parameter != parameterSetInProgress:
		return refuse(codeNoParameter)
	}
	return b.setProgress(pefSet, req.Data[1:])
}

// getPEF takes parameter, set and block selector.
func getPEF(b *BMC, req *ipmi.Request) ipmi.Response {
	switch parameter := req.Data[0]; {
	case parameter&onlyRevision != 0:
		return answer(parameterRevision)
	case parameter != parameterSetInProgress:
		return refuse(codeNoParameter)
	}
	return answer(parameterRevision, b.progress(pefSet))
}
