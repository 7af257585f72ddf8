package bmc

import (
	"cmp"

	"ipmbd/ipmi"
)

// channelCommands control the access to channels (IPMI v2.0, sections 22.13, 22.22 and 22.23). No
// channel has sessions: the BMC keeps the configuration of the LAN channel, but does not serve it.
var channelCommands = []command{
	{ipmi.NetFnApp, 0x38, 2, 2, atOnce, getAuthenticationCapabilities},
	{ipmi.NetFnApp, 0x40, 3, 3, atOnce, setChannelAccess},
	{ipmi.NetFnApp, 0x41, 2, 2, atOnce, getChannelAccess},
}

// payloadCommands answer that there are no payloads, as there are no sessions that carry them
// (IPMI v2.0, section 24).
var payloadCommands = []command{
	{ipmi.NetFnApp, 0x48, 6, 6, atOnce, changePayload}, // Activate Payload
	{ipmi.NetFnApp, 0x49, 6, 6, atOnce, changePayload}, // Deactivate Payload
	{ipmi.NetFnApp, 0x4A, 1, 1, atOnce, noPayload},     // Get Payload Activation Status
	{ipmi.NetFnApp, 0x4B, 2, 2, atOnce, noPayload},     // Get Payload Instance Info
	{ipmi.NetFnApp, 0x4E, 1, 1, atOnce, getPayloadSupport},
}

// pefCommands answer that there are no filters of events (IPMI v2.0, section 30).
var pefCommands = []command{
	{ipmi.NetFnSensor, 0x10, 0, 0, atOnce, getPEFCapabilities},
	{ipmi.NetFnSensor, 0x12, 1, 1 + filterLength, atOnce, setPEF},
	{ipmi.NetFnSensor, 0x13, 3, 3, atOnce, getPEF},
}

const (
	channelBits         = 0x0F
	reservedChannelBits = 0x70

	// Levels of privileges (tables 22-27 and 22-31).
	privilegeBits     = 0x0F
	privilegeCallback = 1
	privilegeAdmin    = 4
	privilegeOEM      = 5
	privilegeNone     = 0x0F // no access

	// Bits 7:6 of access and limit say which value to set (0: none), or which one to get.
	accessKindShift    = 6
	accessStored       = 1
	accessPresent      = 2
	accessModeBits     = 0x07
	accessDisabled     = 0 // for IPMI messaging
	alertingDisabled   = 1 << 5
	reservedAccessBits = 0x3F
	accessBitsOfUse    = 0x2F // without authentication of messages, which channels without it ignore
	reservedLimitBits  = 0x30

	reservedPayloadBits  = 0xC0
	reservedInstanceBits = 0xF0

	pefVersion   = 0x51 // 1.5, BCD with the major digit in bits 3:0
	pefSet       = "pef"
	filterLength = 21 // the longest parameter: a filter with its number

	codeSessionless     ipmi.CompletionCode = 0x82 // the channel has no sessions (sections 22.22 and 22.23)
	codeNoAccessMode    ipmi.CompletionCode = 0x83 // the access mode is not supported (section 22.22)
	codePayloadDisabled ipmi.CompletionCode = 0x81 // the payload type is disabled (sections 24.1 and 24.2)
)

// DefaultLANChannel is the channel of the LAN if none is configured.
const DefaultLANChannel ipmi.Channel = 1

// channels are those that exist beside the one that a request comes from.
type channels struct {
	lan    ipmi.Channel
	others ipmi.ChannelMask
}

// SetChannels sets which channels exist beside the one that a request comes from: the one that
// has LAN configuration parameters, 0 for DefaultLANChannel, and others.
func (b *BMC) SetChannels(lan ipmi.Channel, others ipmi.ChannelMask) {
	b.channels.Store(&channels{cmp.Or(lan, DefaultLANChannel), others})
}

// channel is the channel that a byte of a request names, and whether it exists.
func (b *BMC) channel(req *ipmi.Request, number byte) (c ipmi.Channel, ok bool) {
	c = ipmi.Channel(number & channelBits)
	if c == ipmi.ChannelCurrent {
		c = req.Channel
	}
	known := b.channels.Load()
	return c, c == req.Channel || c == known.lan || known.others.Has(c)
}

// isLAN reports whether a channel is the one with LAN configuration parameters.
func (b *BMC) isLAN(c ipmi.Channel) bool { return c == b.channels.Load().lan }

// Kinds of enabled users in the response to Get Channel Authentication Capabilities (table 22-15).
const (
	anonymousUsers = 1 << 0 // without name and password
	namelessUsers  = 1 << 1 // with a password
	namedUsers     = 1 << 2
)

// getAuthenticationCapabilities takes channel and privilege level. It answers with the channel,
// no authentication types, the kinds of enabled users, and zeros: sessions of IPMI 1.5 and 2.0,
// OEM ID and data.
func getAuthenticationCapabilities(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.channel(req, req.Data[0])
	if level := req.Data[1]; !ok || req.Data[0]&reservedChannelBits != 0 || level < privilegeCallback || level > privilegeOEM {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(byte(c), 0, b.kindsOfUsers(), 0, 0, 0, 0, 0)
}

// setChannelAccess takes channel, access and the limit of privileges. It accepts no change.
func setChannelAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.channel(req, req.Data[0])
	access, limit := req.Data[1], req.Data[2]
	setAccess, setLimit := access>>accessKindShift, limit>>accessKindShift
	switch {
	case !ok, req.Data[0]&^channelBits != 0, limit&reservedLimitBits != 0, setAccess > accessPresent, setLimit > accessPresent:
		return refuse(ipmi.CodeInvalidField)
	case !b.isLAN(c):
		return refuse(codeSessionless)
	case setAccess != 0 && access&accessModeBits != accessDisabled:
		return refuse(codeNoAccessMode)
	case setAccess != 0 && access&accessBitsOfUse != alertingDisabled, setLimit != 0 && limit&privilegeBits != privilegeAdmin:
		return refuse(ipmi.CodeInvalidField)
	}
	return answer()
}

// getChannelAccess takes channel, and whether to get the stored or the present access.
func getChannelAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, ok := b.channel(req, req.Data[0])
	kind := req.Data[1] >> accessKindShift
	switch {
	case !ok, req.Data[0]&^channelBits != 0, req.Data[1]&reservedAccessBits != 0, kind != accessStored && kind != accessPresent:
		return refuse(ipmi.CodeInvalidField)
	case !b.isLAN(c):
		return refuse(codeSessionless)
	}
	return answer(alertingDisabled|accessDisabled, privilegeAdmin)
}

// changePayload takes type, instance, and four bytes of the type's own. Of those serial over LAN
// has some bits when it is activated.
func changePayload(_ *BMC, req *ipmi.Request) ipmi.Response {
	const serialOverLAN, activate, reserved, alertBits = 1, 0x48, 0x11, 0x0C
	kind, instance, own := req.Data[0], req.Data[1], req.Data[2:]
	wrong := kind&reservedPayloadBits != 0 || instance&reservedInstanceBits != 0 || instance == 0
	switch {
	case kind != serialOverLAN:
	case req.Command == activate:
		wrong = wrong || own[0]&reserved != 0 || own[0]&alertBits == alertBits || !isZero(own[1:])
	default:
		wrong = wrong || !isZero(own)
	}
	if wrong {
		return refuse(ipmi.CodeInvalidField)
	}
	return refuse(codePayloadDisabled)
}

// noPayload takes a payload type and refuses it: there are no payload types.
func noPayload(*BMC, *ipmi.Request) ipmi.Response { return refuse(ipmi.CodeInvalidField) }

// getPayloadSupport takes a channel. It answers with masks of the payload types of the channel:
// standard, for the setup of sessions, and OEM, and two reserved bytes.
func getPayloadSupport(b *BMC, req *ipmi.Request) ipmi.Response {
	if c, _ := b.channel(req, req.Data[0]); req.Data[0]&^channelBits != 0 || !b.isLAN(c) {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(make([]byte, 8)...)
}

// getPEFCapabilities answers with the version, and that there are no actions and no filters.
func getPEFCapabilities(*BMC, *ipmi.Request) ipmi.Response { return answer(pefVersion, 0, 0) }

// setPEF takes parameter and data.
func setPEF(b *BMC, req *ipmi.Request) ipmi.Response {
	switch parameter := req.Data[0]; {
	case parameter&^parameterSelector != 0:
		return refuse(ipmi.CodeInvalidField)
	case parameter != parameterSetInProgress:
		return refuse(codeNoParameter)
	}
	return b.setProgress(pefSet, req.Host, req.Data[1:])
}

// getPEF takes parameter, set and block selector. The one parameter has no sets and no blocks.
func getPEF(b *BMC, req *ipmi.Request) ipmi.Response {
	switch parameter := req.Data[0]; {
	case req.Data[1] != 0, req.Data[2] != 0:
		return refuse(ipmi.CodeInvalidField)
	case parameter&onlyRevision != 0:
		return answer(parameterRevision)
	case parameter != parameterSetInProgress:
		return refuse(codeNoParameter)
	}
	return answer(parameterRevision, b.progress(pefSet))
}
