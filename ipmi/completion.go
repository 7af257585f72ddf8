package ipmi

import "fmt"

// CompletionCode is the first byte of a response (IPMI v2.0, table 5-2).
type CompletionCode uint8

// Generic completion codes.
const (
	CodeOK                    CompletionCode = 0x00
	CodeNodeBusy              CompletionCode = 0xC0
	CodeInvalidCommand        CompletionCode = 0xC1
	CodeInvalidForLUN         CompletionCode = 0xC2
	CodeTimeout               CompletionCode = 0xC3
	CodeOutOfSpace            CompletionCode = 0xC4
	CodeReservationCancelled  CompletionCode = 0xC5
	CodeRequestTruncated      CompletionCode = 0xC6
	CodeLengthInvalid         CompletionCode = 0xC7
	CodeLengthExceeded        CompletionCode = 0xC8
	CodeParameterOutOfRange   CompletionCode = 0xC9
	CodeCannotReturnBytes     CompletionCode = 0xCA
	CodeNotPresent            CompletionCode = 0xCB
	CodeInvalidField          CompletionCode = 0xCC
	CodeIllegalForType        CompletionCode = 0xCD
	CodeNoResponse            CompletionCode = 0xCE
	CodeDuplicateRequest      CompletionCode = 0xCF
	CodeSDRInUpdate           CompletionCode = 0xD0
	CodeFirmwareUpdate        CompletionCode = 0xD1
	CodeInitializing          CompletionCode = 0xD2
	CodeDestinationGone       CompletionCode = 0xD3
	CodeInsufficientPrivilege CompletionCode = 0xD4
	CodeNotInState            CompletionCode = 0xD5
	CodeSubFunctionDisabled   CompletionCode = 0xD6
	CodeUnspecified           CompletionCode = 0xFF
)

// The ranges of table 5-2 whose codes have no common meaning.
const (
	firstOEMCode     CompletionCode = 0x01
	lastOEMCode      CompletionCode = 0x7E
	firstCommandCode CompletionCode = 0x80
	lastCommandCode  CompletionCode = 0xBE
)

// genericMeanings are the meanings of the generic codes in table 5-2, in short.
var genericMeanings = [...]string{
	CodeOK:                    "ok",
	CodeNodeBusy:              "node busy",
	CodeInvalidCommand:        "invalid command",
	CodeInvalidForLUN:         "command invalid for this LUN",
	CodeTimeout:               "timeout while processing the command",
	CodeOutOfSpace:            "out of space",
	CodeReservationCancelled:  "reservation cancelled or invalid",
	CodeRequestTruncated:      "request data truncated",
	CodeLengthInvalid:         "request data length invalid",
	CodeLengthExceeded:        "request data field length limit exceeded",
	CodeParameterOutOfRange:   "parameter out of range",
	CodeCannotReturnBytes:     "cannot return the number of bytes requested",
	CodeNotPresent:            "sensor, data or record not present",
	CodeInvalidField:          "invalid data field in request",
	CodeIllegalForType:        "command illegal for this sensor or record type",
	CodeNoResponse:            "response could not be provided",
	CodeDuplicateRequest:      "duplicate request not executed",
	CodeSDRInUpdate:           "SDR repository in update mode",
	CodeFirmwareUpdate:        "device in firmware update mode",
	CodeInitializing:          "initialization in progress",
	CodeDestinationGone:       "destination unavailable",
	CodeInsufficientPrivilege: "insufficient privilege level",
	CodeNotInState:            "not supported in present state",
	CodeSubFunctionDisabled:   "sub-function disabled or unavailable",
	CodeUnspecified:           "unspecified error",
}

// String is the code in hex and its meaning for any command: "C1h invalid command". See Meaning
// for the codes that mean something else for one command.
func (c CompletionCode) String() string {
	return fmt.Sprintf("%02Xh %s", uint8(c), c.generic())
}

// Meaning is the meaning of c in the response to a command, without the number: "NAK on write" for
// 83h from Send Message. n may be the netFn of the request or of the response.
func (c CompletionCode) Meaning(n NetFn, cmd Command) string {
	if command := commandOf(n, cmd); command != nil && command.meanings[c] != "" {
		return command.meanings[c]
	}
	return c.generic()
}

func (c CompletionCode) generic() string {
	switch meaning := genericMeanings[c]; {
	case meaning != "":
		return meaning
	case firstOEMCode <= c && c <= lastOEMCode:
		return "device-specific (OEM) code"
	case firstCommandCode <= c && c <= lastCommandCode:
		return "command-specific code"
	}
	return "reserved"
}
