package ipmi

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
