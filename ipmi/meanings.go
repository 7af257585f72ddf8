package ipmi

// meanings are what completion codes mean in the answer to one command.
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
	setParameterMeanings = meanings{
		0x80: "parameter not supported",
		0x81: "set already in progress",
		0x82: "parameter is read-only",
		0x83: "parameter is write-only",
	}
	enableMeanings = meanings{0x80: "command or sub-function cannot be configured"}
)

// commandMeanings are the command-specific completion codes, 80h to BEh, of the
// response tables in IPMI v2.0, sections 20 to 35.
var commandMeanings = []struct {
	netFn    NetFn
	command  Command
	meanings meanings
}{
	{NetFnChassis, 0x08, setParameterMeanings},
	{NetFnChassis, 0x09, getParameterMeanings},

	{NetFnSensor, 0x12, setParameterMeanings},
	{NetFnSensor, 0x13, getParameterMeanings},
	{NetFnSensor, 0x14, eraseMeanings},
	{NetFnSensor, 0x15, eraseMeanings},
	{NetFnSensor, 0x16, meanings{
		0x81: "alert already in progress",
		0x82: "IPMI messaging session active on this channel",
		0x83: "platform event parameters not supported",
	}},
	{NetFnSensor, 0x21, meanings{0x80: "record changed"}},
	{NetFnSensor, 0x30, meanings{
		0x80: "reading or status bits cannot be set",
		0x81: "event data bytes cannot be set",
	}},

	{NetFnApp, 0x0D, enableMeanings},
	{NetFnApp, 0x22, meanings{0x80: "watchdog not initialized"}},
	{NetFnApp, 0x33, emptyMeanings},
	{NetFnApp, 0x34, meanings{
		0x80: "invalid session handle",
		0x81: "lost arbitration",
		0x82: "bus error",
		0x83: "NAK on write",
	}},
	{NetFnApp, 0x35, emptyMeanings},
	{NetFnApp, 0x39, meanings{
		0x81: "invalid user name",
		0x82: "null user name not enabled",
	}},
	{NetFnApp, 0x3A, meanings{
		0x81: "no session slot available",
		0x82: "no session slot available for this user",
		0x83: "no session slot available for this privilege",
		0x84: "session sequence number out of range",
		0x85: "invalid session ID",
		0x86: "privilege level exceeds the user's or channel's limit",
	}},
	{NetFnApp, 0x3B, meanings{
		0x80: "level not available for this user",
		0x81: "level exceeds the user's or channel's limit",
		0x82: "user level authentication cannot be disabled",
	}},
	{NetFnApp, 0x3C, meanings{
		0x87: "invalid session ID",
		0x88: "invalid session handle",
	}},
	{NetFnApp, 0x40, meanings{
		0x82: "not supported on this channel",
		0x83: "access mode not supported",
	}},
	{NetFnApp, 0x41, meanings{0x82: "not supported on this channel"}},
	{NetFnApp, 0x47, meanings{
		0x80: "password does not match",
		0x81: "password size does not match",
	}},
	{NetFnApp, 0x48, meanings{
		0x80: "payload already active on another session",
		0x81: "payload type disabled",
		0x82: "payload activation limit reached",
		0x83: "cannot activate payload with encryption",
		0x84: "cannot activate payload without encryption",
	}},
	{NetFnApp, 0x49, meanings{
		0x80: "payload already deactivated",
		0x81: "payload type disabled",
	}},
	{NetFnApp, 0x4F, meanings{0x80: "payload type not available on this channel"}},
	{NetFnApp, 0x50, meanings{0x80: "OEM payload not supported"}},
	{NetFnApp, 0x52, meanings{
		0x81: "lost arbitration",
		0x82: "bus error",
		0x83: "NAK on write",
		0x84: "truncated read",
	}},
	{NetFnApp, 0x55, meanings{
		0x80: "operation not supported for this payload type",
		0x81: "operation not allowed for this payload type now",
		0x82: "encryption not available for this session",
		0x83: "payload instance not active",
	}},
	{NetFnApp, 0x56, meanings{
		0x80: "key is locked",
		0x81: "too few key bytes",
		0x82: "too many key bytes",
		0x83: "key does not meet the criteria of its type",
		0x84: "KR is not used",
	}},
	{NetFnApp, 0x58, setParameterMeanings},
	{NetFnApp, 0x59, getParameterMeanings},
	{NetFnApp, 0x60, enableMeanings},
	{NetFnApp, 0x62, enableMeanings},

	{NetFnStorage, 0x11, meanings{0x81: "FRU device busy"}},
	{NetFnStorage, 0x12, meanings{
		0x80: "write-protected offset",
		0x81: "FRU device busy",
	}},
	{NetFnStorage, 0x25, meanings{0x80: "record length does not match"}},
	{NetFnStorage, 0x40, eraseMeanings},
	{NetFnStorage, 0x42, eraseMeanings},
	{NetFnStorage, 0x43, eraseMeanings},
	{NetFnStorage, 0x44, recordMeanings},
	{NetFnStorage, 0x45, meanings{
		0x80: "record length does not match",
		0x81: "SEL erase in progress",
	}},
	{NetFnStorage, 0x46, recordMeanings},

	{NetFnTransport, 0x01, setParameterMeanings},
	{NetFnTransport, 0x02, getParameterMeanings},
	{NetFnTransport, 0x10, setParameterMeanings},
	{NetFnTransport, 0x11, getParameterMeanings},
	{NetFnTransport, 0x16, meanings{
		0x80: "PPP link is not up",
		0x81: "IP protocol is not up",
	}},
	{NetFnTransport, 0x17, meanings{0x80: "no packet data available"}},
	{NetFnTransport, 0x19, meanings{
		0x81: "alert in progress on this channel",
		0x82: "IPMI messaging session active on this channel",
	}},
	{NetFnTransport, 0x21, setParameterMeanings},
	{NetFnTransport, 0x22, getParameterMeanings},
	{NetFnTransport, 0x30, meanings{0x80: "target controller unavailable"}},
}
