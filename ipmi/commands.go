package ipmi

// netFnNames are the names of the network functions of requests (IPMI v2.0, table 5-1), one word
// each.
var netFnNames = [...]string{
	NetFnChassis:   "chassis",
	NetFnBridge:    "bridge",
	NetFnSensor:    "sensor",
	NetFnApp:       "app",
	NetFnFirmware:  "firmware",
	NetFnStorage:   "storage",
	NetFnTransport: "transport",
	NetFnGroup:     "group",
	NetFnOEM:       "oem",
}

// standardCommand is a command of the standard.
type standardCommand struct {
	name     string
	effect   Effect   // or byData
	meanings meanings // of its command-specific completion codes, nil for none
}

// meanings are the meanings of completion codes in the response to one command.
type meanings map[CompletionCode]string

// Meanings that several commands share.
var (
	eraseMeanings  = meanings{0x81: "SEL erase in progress"}
	recordMeanings = meanings{
		0x80: "operation not supported for this record type",
		0x81: "SEL erase in progress",
	}
	emptyMeanings        = meanings{0x80: "queue or buffer empty"}
	getParameterMeanings = meanings{0x80: "parameter not supported"}
	setParameterMeanings = meanings{ // of boot options and system info
		0x80: "parameter not supported",
		0x81: "set already in progress",
		0x82: "parameter is read-only",
	}
	setConfigurationMeanings = meanings{ // of LAN, serial/modem, SOL and PEF
		0x80: "parameter not supported",
		0x81: "set already in progress",
		0x82: "parameter is read-only",
		0x83: "parameter is write-only",
	}
	enableMeanings = meanings{0x80: "command or sub-function cannot be configured"}
)

// Values of standardCommand.effect besides the Effects.
const (
	none = NoEffect
	some = HasEffect
	// twice is a command that sets something to a value that it names. A second time changes
	// nothing, and a request that is treated as a repeat by mistake would be missed.
	twice = NoEffect
	// takes is a command that takes something out or hands something out: a message, an event, a
	// reservation.
	takes = EffectUnknown
	// byData is a command whose data decide; see effectByData.
	byData Effect = 0xFF
)

// standardCommands are the standard commands by network function and number (IPMI v2.0, table G-1;
// bridge: ICMB v1.0). The completion codes, 80h to BEh, come from the response tables in IPMI
// v2.0, sections 21 to 35b. Parameters with a "set in progress" (01h/08h, 04h/12h, 06h/58h,
// 0Ch/01h) refuse a second start, so that setting them has an effect.
var standardCommands = [...][]standardCommand{
	NetFnChassis: {
		0x00: {"get-chassis-capabilities", none, nil},
		0x01: {"get-chassis-status", none, nil},
		0x02: {"chassis-control", some, nil},
		0x03: {"chassis-reset", some, nil},
		0x04: {"chassis-identify", twice, nil},
		0x05: {"set-chassis-capabilities", twice, nil},
		0x06: {"set-power-restore-policy", twice, nil},
		0x07: {"get-system-restart-cause", none, nil},
		0x08: {"set-system-boot-options", some, setParameterMeanings},
		0x09: {"get-system-boot-options", none, getParameterMeanings},
		0x0A: {"set-front-panel-button-enables", twice, nil},
		0x0B: {"set-power-cycle-interval", twice, nil},
		0x0F: {"get-poh-counter", none, nil},
	},
	NetFnBridge: {
		0x00: {"get-bridge-state", none, nil},
		0x01: {"set-bridge-state", some, nil},
		0x02: {"get-icmb-address", none, nil},
		0x03: {"set-icmb-address", some, nil},
		0x04: {"set-bridge-proxy-address", some, nil},
		0x05: {"get-bridge-statistics", none, nil},
		0x06: {"get-icmb-capabilities", none, nil},
		0x08: {"clear-bridge-statistics", some, nil},
		0x09: {"get-bridge-proxy-address", none, nil},
		0x0A: {"get-icmb-connector-info", none, nil},
		0x0B: {"get-icmb-connection-id", none, nil},
		0x0C: {"send-icmb-connection-id", some, nil},
		0x10: {"prepare-for-discovery", some, nil},
		0x11: {"get-addresses", none, nil},
		0x12: {"set-discovered", some, nil},
		0x13: {"get-chassis-device-id", none, nil},
		0x14: {"set-chassis-device-id", some, nil},
		0x20: {"bridge-request", takes, nil}, // any command of another chassis
		0x21: {"bridge-message", takes, nil},
		0x30: {"get-event-count", none, nil},
		0x31: {"set-event-destination", some, nil},
		0x32: {"set-event-reception-state", some, nil},
		0x33: {"send-icmb-event-message", some, nil},
		0x34: {"get-event-destination", none, nil},
		0x35: {"get-event-reception-state", none, nil},
		0xFF: {"error-report", some, nil},
	},
	NetFnSensor: {
		0x00: {"set-event-receiver", some, nil}, // rearms events
		0x01: {"get-event-receiver", none, nil},
		0x02: {"platform-event", some, nil},
		0x10: {"get-pef-capabilities", none, nil},
		0x11: {"arm-pef-postpone-timer", twice, nil},
		0x12: {"set-pef-configuration-parameters", some, setConfigurationMeanings},
		0x13: {"get-pef-configuration-parameters", none, getParameterMeanings},
		0x14: {"set-last-processed-event-id", twice, eraseMeanings},
		0x15: {"get-last-processed-event-id", none, eraseMeanings},
		0x16: {"alert-immediate", some, meanings{
			0x81: "alert already in progress",
			0x82: "IPMI messaging session active on this channel",
			0x83: "platform event parameters not supported",
		}},
		0x17: {"pet-acknowledge", some, nil},
		0x20: {"get-device-sdr-info", none, nil},
		0x21: {"get-device-sdr", none, meanings{0x80: "record changed"}},
		0x22: {"reserve-device-sdr-repository", takes, nil},
		0x23: {"get-sensor-reading-factors", none, nil},
		0x24: {"set-sensor-hysteresis", twice, nil},
		0x25: {"get-sensor-hysteresis", none, nil},
		0x26: {"set-sensor-threshold", twice, nil},
		0x27: {"get-sensor-threshold", none, nil},
		0x28: {"set-sensor-event-enable", twice, nil},
		0x29: {"get-sensor-event-enable", none, nil},
		0x2A: {"rearm-sensor-events", some, nil},
		0x2B: {"get-sensor-event-status", none, nil},
		0x2D: {"get-sensor-reading", none, nil},
		0x2E: {"set-sensor-type", twice, nil},
		0x2F: {"get-sensor-type", none, nil},
		0x30: {"set-sensor-reading-and-event-status", some, meanings{ // may cause an event
			0x80: "reading or status bits cannot be set",
			0x81: "event data bytes cannot be set",
		}},
	},
	NetFnApp: {
		0x01: {"get-device-id", none, nil},
		0x02: {"cold-reset", some, nil},
		0x03: {"warm-reset", some, nil},
		0x04: {"get-self-test-results", none, nil},
		0x05: {"manufacturing-test-on", some, nil},
		0x06: {"set-acpi-power-state", twice, nil},
		0x07: {"get-acpi-power-state", none, nil},
		0x08: {"get-device-guid", none, nil},
		0x09: {"get-netfn-support", none, nil},
		0x0A: {"get-command-support", none, nil},
		0x0B: {"get-command-sub-function-support", none, nil},
		0x0C: {"get-configurable-commands", none, nil},
		0x0D: {"get-configurable-command-sub-functions", none, nil},
		0x22: {"reset-watchdog-timer", twice, meanings{0x80: "watchdog not initialized"}},
		0x24: {"set-watchdog-timer", twice, nil},
		0x25: {"get-watchdog-timer", none, nil},
		0x2E: {"set-bmc-global-enables", twice, nil},
		0x2F: {"get-bmc-global-enables", none, nil},
		0x30: {"clear-message-flags", twice, nil},
		0x31: {"get-message-flags", none, nil},
		0x32: {"enable-message-channel-receive", twice, nil},
		0x33: {"get-message", takes, emptyMeanings},
		0x34: {"send-message", byData, meanings{
			0x80: "invalid session handle",
			0x81: "lost arbitration",
			0x82: "bus error",
			0x83: "NAK on write",
		}},
		0x35: {"read-event-message-buffer", takes, emptyMeanings},
		0x36: {"get-bt-interface-capabilities", none, nil},
		0x37: {"get-system-guid", none, nil},
		0x38: {"get-channel-authentication-capabilities", none, nil},
		0x39: {"get-session-challenge", some, meanings{
			0x81: "invalid user name",
			0x82: "null user name not enabled",
		}},
		0x3A: {"activate-session", some, meanings{
			0x81: "no session slot available",
			0x82: "no session slot available for this user",
			0x83: "no session slot available for this privilege",
			0x84: "session sequence number out of range",
			0x85: "invalid session ID",
			0x86: "privilege level exceeds the user's or channel's limit",
		}},
		0x3B: {"set-session-privilege-level", some, meanings{
			0x80: "level not available for this user",
			0x81: "level exceeds the user's or channel's limit",
			0x82: "user level authentication cannot be disabled",
		}},
		0x3C: {"close-session", some, meanings{
			0x87: "invalid session ID",
			0x88: "invalid session handle",
		}},
		0x3D: {"get-session-info", none, nil},
		0x3F: {"get-authcode", none, nil},
		0x40: {"set-channel-access", twice, meanings{
			0x82: "not supported on this channel",
			0x83: "access mode not supported",
		}},
		0x41: {"get-channel-access", none, meanings{0x82: "not supported on this channel"}},
		0x42: {"get-channel-info", none, nil},
		0x43: {"set-user-access", twice, nil},
		0x44: {"get-user-access", none, nil},
		0x45: {"set-user-name", twice, nil},
		0x46: {"get-user-name", none, nil},
		0x47: {"set-user-password", some, meanings{ // counts a wrong password
			0x80: "password does not match",
			0x81: "password size does not match",
		}},
		0x48: {"activate-payload", some, meanings{
			0x80: "payload already active on another session",
			0x81: "payload type disabled",
			0x82: "payload activation limit reached",
			0x83: "cannot activate payload with encryption",
			0x84: "cannot activate payload without encryption",
		}},
		0x49: {"deactivate-payload", some, meanings{
			0x80: "payload already deactivated",
			0x81: "payload type disabled",
		}},
		0x4A: {"get-payload-activation-status", none, nil},
		0x4B: {"get-payload-instance-info", none, nil},
		0x4C: {"set-user-payload-access", twice, nil},
		0x4D: {"get-user-payload-access", none, nil},
		0x4E: {"get-channel-payload-support", none, nil},
		0x4F: {"get-channel-payload-version", none, meanings{0x80: "payload type not available on this channel"}},
		0x50: {"get-channel-oem-payload-info", none, meanings{0x80: "OEM payload not supported"}},
		0x52: {"master-write-read", byData, meanings{
			0x81: "lost arbitration",
			0x82: "bus error",
			0x83: "NAK on write",
			0x84: "truncated read",
		}},
		0x54: {"get-channel-cipher-suites", none, nil},
		0x55: {"suspend-resume-payload-encryption", some, meanings{
			0x80: "operation not supported for this payload type",
			0x81: "operation not allowed in the present configuration",
			0x82: "encryption not available for this session",
			0x83: "payload instance not active",
		}},
		0x56: {"set-channel-security-keys", some, meanings{
			0x80: "key is locked",
			0x81: "too few key bytes",
			0x82: "too many key bytes",
			0x83: "key does not meet the criteria of its type",
			0x84: "KR is not used",
		}},
		0x57: {"get-system-interface-capabilities", none, nil},
		0x58: {"set-system-info-parameters", some, setParameterMeanings},
		0x59: {"get-system-info-parameters", none, getParameterMeanings},
		0x60: {"set-command-enables", twice, enableMeanings},
		0x61: {"get-command-enables", none, nil},
		0x62: {"set-command-sub-function-enables", twice, enableMeanings},
		0x63: {"get-command-sub-function-enables", none, enableMeanings},
		0x64: {"get-oem-netfn-iana-support", none, nil},
	},
	NetFnStorage: {
		0x10: {"get-fru-inventory-area-info", none, nil},
		0x11: {"read-fru-data", none, meanings{0x81: "FRU device busy"}},
		0x12: {"write-fru-data", some, meanings{
			0x80: "write-protected offset",
			0x81: "FRU device busy",
		}},
		0x20: {"get-sdr-repository-info", none, nil},
		0x21: {"get-sdr-repository-allocation-info", none, nil},
		0x22: {"reserve-sdr-repository", takes, nil},
		0x23: {"get-sdr", none, nil},
		0x24: {"add-sdr", some, nil},
		0x25: {"partial-add-sdr", some, meanings{0x80: "record length does not match"}},
		0x26: {"delete-sdr", some, nil},
		0x27: {"clear-sdr-repository", byData, nil},
		0x28: {"get-sdr-repository-time", none, nil},
		0x29: {"set-sdr-repository-time", some, nil},
		0x2A: {"enter-sdr-repository-update-mode", some, nil},
		0x2B: {"exit-sdr-repository-update-mode", some, nil},
		0x2C: {"run-initialization-agent", byData, nil},
		0x40: {"get-sel-info", none, eraseMeanings},
		0x41: {"get-sel-allocation-info", none, nil},
		0x42: {"reserve-sel", takes, eraseMeanings},
		0x43: {"get-sel-entry", none, eraseMeanings},
		0x44: {"add-sel-entry", some, recordMeanings},
		0x45: {"partial-add-sel-entry", some, meanings{
			0x80: "record length does not match",
			0x81: "SEL erase in progress",
		}},
		0x46: {"delete-sel-entry", some, recordMeanings},
		0x47: {"clear-sel", byData, nil},
		0x48: {"get-sel-time", none, nil},
		0x49: {"set-sel-time", some, nil},
		0x5A: {"get-auxiliary-log-status", none, nil},
		0x5B: {"set-auxiliary-log-status", some, nil},
		0x5C: {"get-sel-time-utc-offset", none, nil},
		0x5D: {"set-sel-time-utc-offset", twice, nil},
	},
	NetFnTransport: {
		0x01: {"set-lan-configuration-parameters", some, setConfigurationMeanings},
		0x02: {"get-lan-configuration-parameters", none, getParameterMeanings},
		0x03: {"suspend-bmc-arps", twice, nil},
		0x04: {"get-ip-udp-rmcp-statistics", byData, nil},
		0x10: {"set-serial-modem-configuration", some, setConfigurationMeanings},
		0x11: {"get-serial-modem-configuration", none, getParameterMeanings},
		0x12: {"set-serial-modem-mux", some, nil},
		0x13: {"get-tap-response-codes", none, nil},
		0x14: {"set-ppp-udp-proxy-transmit-data", some, nil},
		0x15: {"get-ppp-udp-proxy-transmit-data", none, nil},
		0x16: {"send-ppp-udp-proxy-packet", some, meanings{
			0x80: "PPP link is not up",
			0x81: "IP protocol is not up",
		}},
		0x17: {"get-ppp-udp-proxy-receive-data", takes, meanings{0x80: "no packet data available"}},
		0x18: {"serial-modem-connection-active", some, nil},
		0x19: {"callback", some, meanings{
			0x81: "alert in progress on this channel",
			0x82: "IPMI messaging session active on this channel",
		}},
		0x1A: {"set-user-callback-options", some, nil},
		0x1B: {"get-user-callback-options", none, nil},
		0x1C: {"set-serial-routing-mux", some, nil},
		0x20: {"sol-activating", some, nil},
		0x21: {"set-sol-configuration-parameters", some, setConfigurationMeanings},
		0x22: {"get-sol-configuration-parameters", none, getParameterMeanings},
		0x30: {"forwarded-command", takes, meanings{0x80: "target controller unavailable"}},
		0x31: {"set-forwarded-commands", some, nil},
		0x32: {"get-forwarded-commands", none, nil},
		0x33: {"enable-forwarded-commands", some, nil},
	},
}

// commandOf returns a command of the standard, or nil. n may be the netFn of the request or of the
// response.
func commandOf(n NetFn, cmd Command) *standardCommand {
	if n = n.Request(); int(n) < len(standardCommands) && int(cmd) < len(standardCommands[n]) {
		if c := &standardCommands[n][cmd]; c.name != "" {
			return c
		}
	}
	return nil
}
