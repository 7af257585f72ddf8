package bmc

import (
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// bootCommands keep how the system is to boot (IPMI v2.0, sections 28.12 and
// 28.13).
var bootCommands = []command{
	{ipmi.NetFnChassis, 0x08, 1, 2 + mailboxBlock, waits, setBootOptions},
	{ipmi.NetFnChassis, 0x09, 3, 3, waits, getBootOptions},
}

// Parameters that are more than so many bytes (table 28-14).
const (
	bootFlagClearing = 3
	bootAcknowledge  = 4 // write mask, and who has handled the boot
	bootFlags        = 5
	bootMailbox      = 7 // blocks of data for the one who boots

	mailboxBlock  = 16
	mailboxBlocks = 5 // at least 80 bytes
)

// bootLengths are the lengths of the parameters: set in progress, service
// partition selector and scan, flag clearing, acknowledge, flags, initiator.
var bootLengths = [...]int{1, 1, 1, 1, 2, 5, 9}

// Bits of the parameters.
const (
	bootVersion        = 0x01   // of the parameters, in an answer
	parameterLocked    = 1 << 7 // beside the parameter: it is invalid
	bootFlagsValid     = 1 << 7 // in the first byte of the flags
	keepAfterWatchdog  = 1 << 2 // of flag clearing: when the watchdog has reset
	keepWithoutControl = 1 << 3 // when no Chassis Control follows
	reservedClearing   = 0xE0
)

// bootFlagsTime is how long boot flags are valid without a Chassis Control.
const bootFlagsTime = 60 * time.Second

func bootSetting(host int, parameter byte) string {
	return hostSetting(host, fmt.Sprintf("boot/%d", parameter))
}

func mailboxSetting(host int, block byte) string {
	return hostSetting(host, fmt.Sprintf("boot/%d/%d", bootMailbox, block))
}

func lockSetting(host int, parameter byte) string { return bootSetting(host, parameter) + "/locked" }

// setBootOptions takes parameter, whether it is locked, and its data; without
// data it only locks and unlocks.
func setBootOptions(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, data := req.Data[0]&parameterSelector, req.Data[1:]
	if parameter > bootMailbox {
		return refuse(codeNoParameter)
	}
	if len(data) > 0 {
		if r := b.setBootOption(req.Host, parameter, data); r.Code != ipmi.CodeOK {
			return r
		}
	}
	return b.keep(lockSetting(req.Host, parameter), req.Data[0]&parameterLocked)
}

func (b *BMC) setBootOption(host int, parameter byte, data []byte) ipmi.Response {
	if parameter == bootMailbox {
		return b.setMailbox(host, data)
	}
	switch {
	case len(data) != bootLengths[parameter]:
		return refuse(ipmi.CodeLengthInvalid)
	case parameter == parameterSetInProgress:
		return b.setProgress(hostSetting(host, "boot"), data)
	case parameter == bootFlagClearing && data[0]&reservedClearing != 0:
		return refuse(ipmi.CodeInvalidField)
	case parameter == bootFlagClearing:
		if err := b.expireBootFlags(host); err != nil { // What is over stays so.
			return outcome(err)
		}
	case parameter == bootAcknowledge:
		mask, old := data[0], b.bootOption(host, bootAcknowledge)[1]
		return b.keep(bootSetting(host, bootAcknowledge), 0, old&^mask|data[1]&mask)
	case parameter == bootFlags:
		b.limitBootFlags(host)
	}
	return b.keep(bootSetting(host, parameter), data...)
}

// setMailbox takes the number of a block and up to 16 bytes of it.
func (b *BMC) setMailbox(host int, data []byte) ipmi.Response {
	switch {
	case len(data) < 2:
		return refuse(ipmi.CodeLengthInvalid)
	case data[0] >= mailboxBlocks:
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	var block [mailboxBlock]byte
	copy(block[:], data[1:])
	return b.keep(mailboxSetting(host, data[0]), block[:]...)
}

// bootOption is a parameter as it was set, or zero.
func (b *BMC) bootOption(host int, parameter byte) []byte {
	return b.setting(bootSetting(host, parameter), make([]byte, bootLengths[parameter])...)
}

// getBootOptions takes parameter, number of a block of the mailbox, and 00h.
func getBootOptions(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, block := req.Data[0], req.Data[1]
	switch {
	case parameter&^parameterSelector != 0:
		return refuse(ipmi.CodeInvalidField)
	case parameter > bootMailbox:
		return refuse(codeNoParameter)
	case parameter == bootMailbox && block >= mailboxBlocks:
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	data := []byte{bootVersion, parameter | b.setting(lockSetting(req.Host, parameter), 0)[0]}
	switch parameter {
	case parameterSetInProgress:
		data = append(data, b.progress(hostSetting(req.Host, "boot")))
	case bootMailbox:
		data = append(data, block)
		data = append(data, b.setting(mailboxSetting(req.Host, block), make([]byte, mailboxBlock)...)...)
	case bootFlags:
		if err := b.expireBootFlags(req.Host); err != nil {
			return outcome(err)
		}
		fallthrough
	default:
		data = append(data, b.bootOption(req.Host, parameter)...)
	}
	return answer(data...)
}

// The boot flags are for the next boot: they stop being valid after a time
// without Chassis Control, and when the watchdog resets, unless flag clearing says
// otherwise (IPMI v2.0, table 28-14, parameters 3 and 5).

// limitBootFlags begins the time that boot flags are valid. For those that were
// kept from before the start it begins with the BMC's.
func (b *BMC) limitBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host(host).bootFlagsUntil = time.Now().Add(bootFlagsTime)
}

// keepBootFlags begins that time again, if it is not over: there was a Chassis
// Control.
func (b *BMC) keepBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, now := b.host(host), time.Now()
	if now.Before(h.bootFlagsUntil) {
		h.bootFlagsUntil = now.Add(bootFlagsTime)
	}
}

// expireBootFlags ends them when their time is over, and matters.
func (b *BMC) expireBootFlags(host int) error {
	b.mu.Lock()
	until := b.host(host).bootFlagsUntil
	b.mu.Unlock()
	if time.Now().Before(until) || b.bootOption(host, bootFlagClearing)[0]&keepWithoutControl != 0 {
		return nil
	}
	return b.invalidateBootFlags(host)
}

// endBootFlags ends them because the watchdog has acted.
func (b *BMC) endBootFlags(host int) error {
	if b.bootOption(host, bootFlagClearing)[0]&keepAfterWatchdog != 0 {
		return nil
	}
	return b.invalidateBootFlags(host)
}

func (b *BMC) invalidateBootFlags(host int) error {
	flags := b.bootOption(host, bootFlags)
	if flags[0]&bootFlagsValid == 0 {
		return nil
	}
	return b.journal.write(putValue(bootSetting(host, bootFlags), append([]byte{flags[0] &^ bootFlagsValid}, flags[1:]...)...))
}
