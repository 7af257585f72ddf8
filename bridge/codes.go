package bridge

import (
	"errors"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Completion codes of Send Message (IPMI v2.0, section 22.7).
const (
	codeArbitrationLost ipmi.CompletionCode = 0x81
	codeBusError        ipmi.CompletionCode = 0x82
	codeNotAcknowledged ipmi.CompletionCode = 0x83
)

// codes is the table from the errors of a bus to the completion code of the Send
// Message that asked for the bus.
var codes = []struct {
	err  error
	code ipmi.CompletionCode
}{
	{ipmb.ErrTimeout, ipmi.CodeTimeout},
	{ipmb.ErrNotAcknowledged, codeNotAcknowledged},
	{ipmb.ErrArbitrationLost, codeArbitrationLost},
	{ipmb.ErrStuck, codeBusError},
	{ipmb.ErrTooLong, ipmi.CodeLengthExceeded},
	{ipmb.ErrClosed, ipmi.CodeDestinationGone},
	{ipmb.ErrBusy, ipmi.CodeNodeBusy},
	{ipmb.ErrInvalid, ipmi.CodeInvalidField},
	{ipmb.ErrAnswered, ipmi.CodeDuplicateRequest},
	{ipmb.ErrUnsupported, ipmi.CodeNotInState},
}

// codeOf is the completion code of a Send Message that ended with err: CodeOK
// for nil, and for what is in no row that of a handler.
func codeOf(err error) ipmi.CompletionCode {
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return ipmi.CodeOf(err)
}
