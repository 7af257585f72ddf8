package bmc

import "ipmbd/ipmi"

// payloadCommands say that there are no payloads, as there are no sessions that
// carry them (IPMI v2.0, section 24).
var payloadCommands = []command{
	{ipmi.NetFnApp, 0x48, 6, 6, atOnce(changePayload)}, // Activate Payload
	{ipmi.NetFnApp, 0x49, 6, 6, atOnce(changePayload)}, // Deactivate Payload
	{ipmi.NetFnApp, 0x4A, 1, 1, atOnce(noPayload)},     // Get Payload Activation Status
	{ipmi.NetFnApp, 0x4B, 2, 2, atOnce(noPayload)},     // Get Payload Instance Info
	{ipmi.NetFnApp, 0x4E, 1, 1, atOnce(getPayloadSupport)},
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
