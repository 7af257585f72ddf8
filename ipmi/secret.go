package ipmi

import "slices"

// maxBridging is how many messages, one wrapped in the other, CarriesSecret reads. ipmitool's
// double bridging makes two. The bound keeps crafted messages cheap.
const maxBridging = 3

// secretCommands are the standard commands whose request or response may hold a password, a key or
// data of a session (IPMI v2.0, sections 22 to 25 and 35b).
var secretCommands = [...]commandKey{
	{NetFnApp, 0x39}, // Get Session Challenge: user name, session ID, challenge
	{NetFnApp, 0x3A}, // Activate Session: authentication code or password, session ID
	{NetFnApp, 0x3B}, // Set Session Privilege Level: the privilege of a session
	{NetFnApp, 0x3C}, // Close Session: session ID, which is enough to end a session
	{NetFnApp, 0x3D}, // Get Session Info: session ID and handle, user, address
	{NetFnApp, 0x3F}, // Get AuthCode: hash keyed with a user's password
	{NetFnApp, 0x47}, // Set User Password: password, also to be tested
	{NetFnApp, 0x4B}, // Get Payload Instance Info: session ID
	{NetFnApp, 0x56}, // Set Channel Security Keys: KR and KG

	{NetFnTransport, 0x01}, // Set LAN Configuration: community string (parameter 16)
	{NetFnTransport, 0x02}, // Get LAN Configuration: the same, unnamed in the response
	{NetFnTransport, 0x10}, // Set Serial/Modem Configuration: PPP passwords (parameter 42)
	{NetFnTransport, 0x11}, // Get Serial/Modem Configuration: the same

	// These wrap another command in forms of their own.
	{NetFnBridge, 0x20},    // Bridge Request
	{NetFnBridge, 0x21},    // Bridge Message
	{NetFnTransport, 0x30}, // Forwarded Command
}

// CarriesSecret reports whether a message may hold a password, a key or session data, which
// observers must not see. n is the netFn of a request or a response. data follow the command, or
// in a response the completion code. It reads messages wrapped in Send Message and Get Message; a
// message that cannot be read counts as a secret. The data of OEM commands are not known, and
// count as no secret.
//
// Get Channel Authentication Capabilities (38h) is no secret: it tells the abilities of the
// channel and takes no part in a session.
func CarriesSecret(n NetFn, cmd Command, data []byte) bool {
	return carriesSecret(n, cmd, data, maxBridging)
}

func carriesSecret(n NetFn, cmd Command, data []byte, bridging int) bool {
	switch key := (commandKey{n.Request(), cmd}); key {
	case commandKey{NetFnApp, 0x33}:
		// Get Message: the response is a channel and a message.
		return n.IsResponse() && len(data) > 1 && secretReceived(data[1:], bridging)
	case commandKey{NetFnApp, 0x34}:
		// Send Message: the request is a channel and a message. The response is empty, or, if the
		// BMC waits for the response, the response's message.
		if !n.IsResponse() && len(data) > 0 {
			data = data[1:]
		}
		return len(data) > 0 && secretSent(data, bridging)
	case commandKey{NetFnGroup, 0x02}:
		// Redfish (body 52h), Get Bootstrap Account Credentials: user name and password (DSP0270).
		return len(data) > 0 && data[0] == 0x52
	default:
		return slices.Contains(secretCommands[:], key)
	}
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
