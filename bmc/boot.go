package bmc

import (
	"fmt"
	"slices"
	"time"

	"ipmbd/ipmi"
)

// bootCommands keep how the system boots (IPMI v2.0, sections 28.12 and 28.13).
var bootCommands = []command{
	{ipmi.NetFnChassis, 0x08, 1, 2 + mailboxBlock, waits, setBootOptions},
	{ipmi.NetFnChassis, 0x09, 3, 3, waits, getBootOptions},
}

// Parameters that are not plain bytes (table 28-14).
const (
	bootFlagClearing = 3
	bootAcknowledge  = 4 // write mask, and which software has handled the boot
	bootFlags        = 5
	bootMailbox      = 7 // blocks of data for the software that boots

	mailboxBlock  = 16
	mailboxBlocks = 5 // at least 80 bytes
)

// bootLengths are the lengths of the parameters: set in progress, service partition selector and
// scan, flag clearing, acknowledge, flags, initiator.
var bootLengths = [...]int{1, 1, 1, 1, 2, 5, 9}

// Bits of the parameters.
const (
	bootVersion        = 0x01   // of the parameters, in a response
	parameterLocked    = 1 << 7 // beside the parameter: it is invalid
	bootFlagsValid     = 1 << 7 // in the first byte of the flags
	keepAfterWatchdog  = 1 << 2 // flag clearing: the flags stay valid when the watchdog has reset
	keepWithoutControl = 1 << 3 // flag clearing: they stay valid when no Chassis Control follows
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

// setBootOptions takes parameter, lock, and data. Without data it sets the lock only.
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
	return b.storeSetting(lockSetting(req.Host, parameter), req.Data[0]&parameterLocked)
}

func (b *BMC) setBootOption(host int, parameter byte, data []byte) ipmi.Response {
	switch {
	case parameter == bootMailbox:
		return b.setMailbox(host, data)
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
		return b.storeSetting(bootSetting(host, bootAcknowledge), 0, old&^mask|data[1]&mask)
	case parameter == bootFlags:
		b.limitBootFlags(host)
	}
	return b.storeSetting(bootSetting(host, parameter), data...)
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
	return b.storeSetting(mailboxSetting(host, data[0]), block[:]...)
}

// bootOption is a parameter as it was set, or zeros.
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
	head := []byte{bootVersion, parameter | b.setting(lockSetting(req.Host, parameter), 0)[0]}
	switch parameter {
	case parameterSetInProgress:
		return answer(append(head, b.progress(hostSetting(req.Host, "boot")))...)
	case bootMailbox:
		head = append(head, block)
		return answer(append(head, b.setting(mailboxSetting(req.Host, block), make([]byte, mailboxBlock)...)...)...)
	case bootFlags:
		if err := b.expireBootFlags(req.Host); err != nil {
			return outcome(err)
		}
	}
	return answer(append(head, b.bootOption(req.Host, parameter)...)...)
}

// Boot flags are for the next boot. They stop being valid after a time without Chassis Control,
// and when the watchdog resets the host, unless flag clearing says otherwise (table 28-14,
// parameters 3 and 5).

// limitBootFlags begins the time for which boot flags are valid. For flags that were set before
// the start it begins when the BMC starts.
func (b *BMC) limitBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host(host).bootFlagsUntil = time.Now().Add(bootFlagsTime)
}

// keepBootFlags begins that time again after a Chassis Control, if it is not over.
func (b *BMC) keepBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, now := b.host(host), time.Now(); now.Before(h.bootFlagsUntil) {
		h.bootFlagsUntil = now.Add(bootFlagsTime)
	}
}

// expireBootFlags ends the flags if their time is over, unless flag clearing keeps them.
func (b *BMC) expireBootFlags(host int) error {
	b.mu.Lock()
	until := b.host(host).bootFlagsUntil
	b.mu.Unlock()
	if time.Now().Before(until) {
		return nil
	}
	return b.clearBootFlags(host, keepWithoutControl)
}

// clearBootFlags makes the flags invalid, unless flag clearing has the bit that keeps them.
func (b *BMC) clearBootFlags(host int, kept byte) error {
	flags := slices.Clone(b.bootOption(host, bootFlags))
	if b.bootOption(host, bootFlagClearing)[0]&kept != 0 || flags[0]&bootFlagsValid == 0 {
		return nil
	}
	flags[0] &^= bootFlagsValid
	return b.journal.write(putValue(bootSetting(host, bootFlags), flags...))
}
