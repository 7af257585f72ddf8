package ipmi

import "slices"

// maxBridging is how many messages, one wrapped in the other, CarriesSecret reads. ipmitool's
// double bridging makes two. The bound keeps crafted messages cheap.
const maxBridging = 3

// secretCommand is a command that may carry a password, a key or data of a session. carries says
// where.
type secretCommand struct {
	commandKey
	carries carriage
}

// carriage says which messages of a command carry a secret.
type carriage uint8

const (
	always    carriage = iota // every request and response may
	fetched                   // a response: a channel and a message
	sent                      // a request: a channel and a message; or the message that a response brings
	written                   // a request: a bus, an address and bytes, which may be an IPMB message
	ofRedfish                 // those of Redfish's body code
)

// redfish is the body code of the Redfish host interface in netFn 2Ch (DSP0270).
const redfish = 0x52

// secretCommands is the one table of the standard's commands that carry secrets (IPMI v2.0,
// sections 20.5, 22 to 25 and 35b; ICMB v1.0; DSP0270).
var secretCommands = [...]secretCommand{
	{commandKey{NetFnApp, 0x05}, always},  // Manufacturing Test On: password or key of the device
	{commandKey{NetFnApp, 0x33}, fetched}, // Get Message
	{commandKey{NetFnApp, 0x34}, sent},    // Send Message
	{commandKey{NetFnApp, 0x39}, always},  // Get Session Challenge: user name, session ID, challenge
	{commandKey{NetFnApp, 0x3A}, always},  // Activate Session: authentication code or password, session ID
	{commandKey{NetFnApp, 0x3B}, always},  // Set Session Privilege Level: the privilege of a session
	{commandKey{NetFnApp, 0x3C}, always},  // Close Session: session ID, which is enough to end a session
	{commandKey{NetFnApp, 0x3D}, always},  // Get Session Info: session ID and handle, user, address
	{commandKey{NetFnApp, 0x3F}, always},  // Get AuthCode: hash keyed with a user's password
	{commandKey{NetFnApp, 0x47}, always},  // Set User Password: password, also to be tested
	{commandKey{NetFnApp, 0x4B}, always},  // Get Payload Instance Info: session ID
	{commandKey{NetFnApp, 0x52}, written}, // Master Write-Read
	{commandKey{NetFnApp, 0x56}, always},  // Set Channel Security Keys: KR and KG

	{commandKey{NetFnTransport, 0x01}, always}, // Set LAN Configuration: community string (parameter 16)
	{commandKey{NetFnTransport, 0x02}, always}, // Get LAN Configuration: the same, unnamed in the response
	{commandKey{NetFnTransport, 0x10}, always}, // Set Serial/Modem Configuration: TAP and PPP passwords (parameters 26, 42)
	{commandKey{NetFnTransport, 0x11}, always}, // Get Serial/Modem Configuration: the same
	{commandKey{NetFnTransport, 0x14}, always}, // Set PPP UDP Proxy Transmit Data: packets of any protocol
	{commandKey{NetFnTransport, 0x15}, always}, // Get PPP UDP Proxy Transmit Data
	{commandKey{NetFnTransport, 0x17}, always}, // Get PPP UDP Proxy Receive Data

	// These wrap another command in forms of their own.
	{commandKey{NetFnBridge, 0x20}, always},    // Bridge Request
	{commandKey{NetFnBridge, 0x21}, always},    // Bridge Message
	{commandKey{NetFnTransport, 0x30}, always}, // Forwarded Command

	{commandKey{NetFnGroup, 0x02}, ofRedfish}, // Get Bootstrap Account Credentials: user name and password
}

// SecretPatterns returns the patterns of the commands that may carry secrets, on all channels; see
// CarriesSecret.
func SecretPatterns() []Pattern {
	patterns := make([]Pattern, len(secretCommands))
	for i, s := range secretCommands {
		patterns[i] = Pattern{AllChannels, s.netFn, s.command, AnyGroup}
		if s.carries == ofRedfish {
			patterns[i].Group = redfish
		}
	}
	return patterns
}

// MayCarrySecret reports whether a request or response of the pattern may carry a secret. Only
// programs of root may serve such requests.
func (p Pattern) MayCarrySecret() bool { return slices.ContainsFunc(SecretPatterns(), p.overlaps) }

// CarriesSecret reports whether a message may hold a password, a key or session data, which
// observers and programs below root must not see. n is the netFn of a request or a response. data
// follow the command, or in a response the completion code. It reads messages wrapped in Send
// Message, Get Message and Master Write-Read; a bridged message that cannot be read counts as a
// secret. The data of OEM commands are not known, and count as no secret.
//
// Get Channel Authentication Capabilities (38h) is no secret: it tells the abilities of the
// channel and takes no part in a session.
func CarriesSecret(n NetFn, cmd Command, data []byte) bool {
	return carriesSecret(n, cmd, data, maxBridging)
}

func carriesSecret(n NetFn, cmd Command, data []byte, bridging int) bool {
	key := commandKey{n.Request(), cmd}
	i := slices.IndexFunc(secretCommands[:], func(s secretCommand) bool { return s.commandKey == key })
	if i < 0 {
		return false
	}
	switch secretCommands[i].carries {
	case fetched:
		return n.IsResponse() && len(data) > 1 && secretReceived(data[1:], bridging)
	case sent:
		// The response is empty, or, if the BMC waits for the response, the response's message.
		if !n.IsResponse() && len(data) > 0 {
			data = data[1:]
		}
		return len(data) > 0 && secretSent(data, bridging)
	case written:
		return !n.IsResponse() && secretWritten(data, bridging)
	case ofRedfish:
		return len(data) > 0 && data[0] == redfish
	default:
		return true
	}
}

// secretWritten looks into a Master Write-Read: bus, address, number of bytes to read, and bytes to
// write. If the bytes are not an IPMB message, they are for another kind of device.
func secretWritten(data []byte, bridging int) bool {
	if len(data) < 4 {
		return false
	}
	msg := append([]byte{data[1]}, data[3:]...)
	return hasHeader(msg, 1) && secretAt(msg, 1, bridging)
}

// secretSent looks into a message for a channel. Its netFn is the second byte, or the third after
// a session handle (LAN) or a zero (broadcast). The header checksum tells which. If both fit, both
// count.
func secretSent(msg []byte, bridging int) bool {
	atOne, atTwo := hasHeader(msg, 1), hasHeader(msg, 2)
	return !atOne && !atTwo || atOne && secretAt(msg, 1, bridging) || atTwo && secretAt(msg, 2, bridging)
}

// secretReceived looks into a message from the receive queue. From IPMB it has lost its first
// address, so its netFn is the first byte, and its checksum is of no use: BMCs differ in how they
// make it. From LAN it is whole, after a session handle.
func secretReceived(msg []byte, bridging int) bool {
	return secretAt(msg, 0, bridging) || hasHeader(msg, 2) && secretAt(msg, 2, bridging)
}

// hasHeader reports whether msg[at] is a netFn, between an address and a right checksum.
func hasHeader(msg []byte, at int) bool {
	return len(msg) > at+1 && msg[at-1]+msg[at]+msg[at+1] == 0
}

// secretAt looks into the message whose netFn is msg[at]. After it come a checksum, an address, a
// sequence number, the command, in a response the completion code, data and a checksum.
func secretAt(msg []byte, at, bridging int) bool {
	command, begin := at+4, at+5
	if len(msg) < begin || bridging == 0 {
		return true
	}
	n := NetFn(msg[at] >> 2)
	data := msg[begin:max(begin, len(msg)-1)]
	if n.IsResponse() && len(data) > 0 {
		data = data[1:]
	}
	return carriesSecret(n, Command(msg[command]), data, bridging-1)
}
