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
	bootInitiator    = 6
	bootMailbox      = 7 // blocks of data for the software that boots

	mailboxBlock  = 16
	mailboxBlocks = 5 // at least 80 bytes
)

// bootParameter is the layout of a parameter.
type bootParameter struct {
	length      int
	reserved    []byte // bits of each byte; nil for none
	nonVolatile bool   // the others are semi-volatile: a Cold Reset sets them to zeros
}

// bootParameters are the parameters that are plain bytes: set in progress, service partition
// selector and scan, flag clearing, acknowledge, flags, initiator.
var bootParameters = [...]bootParameter{
	parameterSetInProgress: {length: 1},
	1:                      {length: 1},
	2:                      {length: 1, reserved: []byte{0xFC}, nonVolatile: true},
	bootFlagClearing:       {length: 1, reserved: []byte{0xE0}},
	bootAcknowledge:        {length: 2},
	bootFlags:              {length: 5, reserved: []byte{0x1F, 0, 0, 0xF0, 0xE0}},
	bootInitiator:          {length: 9, reserved: []byte{0xF0}},
}

// Bits of the parameters.
const (
	bootVersion        = 0x01   // of the parameters, in a response
	parameterLocked    = 1 << 7 // beside the parameter: it is invalid
	bootFlagsValid     = 1 << 7 // in the first byte of the flags
	bootPersistent     = 1 << 6 // there too: the flags are for all boots
	keepAfterPowerUp   = 1 << 0 // flag clearing: the flags stay valid when power comes back
	keepAfterReset     = 1 << 1 // flag clearing: they stay valid when the host resets itself
	keepAfterWatchdog  = 1 << 2 // flag clearing: they stay valid when the watchdog has reset
	keepWithoutControl = 1 << 3 // flag clearing: they stay valid when no Chassis Control follows
	acknowledgeOnes    = 0xE0   // reserved bits of the acknowledge data, which are written as 1
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

// setBootOptions takes parameter, lock, and data, and stores lock and data together. Without data
// it sets the lock only.
func setBootOptions(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, data := req.Data[0]&parameterSelector, req.Data[1:]
	lock := putValue(lockSetting(req.Host, parameter), req.Data[0]&parameterLocked)
	switch {
	case parameter > bootMailbox:
		return refuse(codeNoParameter)
	case len(data) == 0:
		return outcome(b.journal.write(lock))
	case parameter == parameterSetInProgress:
		return b.setBootProgress(req.Host, data, lock)
	}
	option, code := b.bootChange(req.Host, parameter, data)
	if code != ipmi.CodeOK {
		return refuse(code)
	}
	return outcome(b.journal.startWrite(func(err error) {
		if err == nil && parameter == bootFlags {
			b.limitBootFlags(req.Host)
		}
	}, option, lock).wait())
}

// setBootProgress begins or ends setting the parameters when the lock of that state is stored.
func (b *BMC) setBootProgress(host int, data []byte, lock change) ipmi.Response {
	set, state := hostSetting(host, "boot"), slices.Clone(data)
	r := mayProgress(b.progress(set) == setInProgress, state)
	if r.Code != ipmi.CodeOK {
		return r
	}
	err := b.journal.startWrite(func(err error) {
		if err == nil {
			r = b.setProgress(set, host, state)
		}
	}, lock).wait()
	if err != nil {
		return outcome(err)
	}
	return r
}

// bootChange is the change of a parameter.
func (b *BMC) bootChange(host int, parameter byte, data []byte) (change, ipmi.CompletionCode) {
	if parameter == bootMailbox {
		return mailboxChange(host, data)
	}
	name, p := bootSetting(host, parameter), bootParameters[parameter]
	if len(data) != p.length {
		return change{}, ipmi.CodeLengthInvalid
	}
	for i, reserved := range p.reserved {
		if data[i]&reserved != 0 {
			return change{}, ipmi.CodeInvalidField
		}
	}
	switch parameter {
	case bootFlagClearing:
		if err := b.expireBootFlags(host); err != nil { // What is over stays so.
			return change{}, ipmi.CodeOf(err)
		}
	case bootAcknowledge:
		mask, set := data[0], data[1]
		if mask&^set&acknowledgeOnes != 0 {
			return change{}, ipmi.CodeInvalidField
		}
		return editValue(name, func(stored []byte) []byte {
			var old byte
			if len(stored) == p.length {
				old = stored[1]
			}
			return []byte{0, old&^mask | set&mask}
		}), ipmi.CodeOK
	case bootFlags:
		if !areBootFlags(data) {
			return change{}, ipmi.CodeInvalidField
		}
		data = validBootFlags(data)
	}
	return putValue(name, data...), ipmi.CodeOK
}

// areBootFlags reports whether the fields of boot flags have values that table 28-14 defines.
func areBootFlags(data []byte) bool {
	const reservedDevices = 1<<0xA | 1<<0xC | 1<<0xD | 1<<0xE
	device, verbosity, redirection, mux := data[1]>>2&0x0F, data[2]>>5&0x03, data[2]&0x03, data[3]&0x07
	return reservedDevices&(1<<device) == 0 && verbosity != 3 && redirection != 3 && mux <= 2 && data[4] != 0x10
}

// validBootFlags are flags as they are kept: those that are not valid are not persistent either.
func validBootFlags(data []byte) []byte {
	data = slices.Clone(data)
	if data[0]&bootFlagsValid == 0 {
		data[0] &^= bootPersistent
	}
	return data
}

// forgetBootOptions sets the semi-volatile parameters of a host to zeros.
func (b *BMC) forgetBootOptions(host int) error {
	var changes []change
	for parameter := range byte(bootMailbox + 1) {
		if parameter == bootMailbox || !bootParameters[parameter].nonVolatile {
			changes = append(changes, removeValues(bootSetting(host, parameter)))
		}
	}
	return b.journal.write(changes...)
}

// mailboxChange takes the number of a block and up to 16 bytes of it. The other bytes of the block
// stay.
func mailboxChange(host int, data []byte) (change, ipmi.CompletionCode) {
	switch {
	case len(data) < 2:
		return change{}, ipmi.CodeLengthInvalid
	case data[0] >= mailboxBlocks:
		return change{}, ipmi.CodeParameterOutOfRange
	}
	part := slices.Clone(data[1:]) // The request may end before the journal uses it.
	return editValue(mailboxSetting(host, data[0]), func(stored []byte) []byte {
		block := make([]byte, mailboxBlock)
		copy(block, stored)
		copy(block, part)
		return block
	}), ipmi.CodeOK
}

// bootOption is a parameter as it was set, or zeros.
func (b *BMC) bootOption(host int, parameter byte) []byte {
	return b.setting(bootSetting(host, parameter), make([]byte, bootParameters[parameter].length)...)
}

// getBootOptions takes parameter, number of a block of the mailbox or 00h, and 00h.
func getBootOptions(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, block := req.Data[0], req.Data[1]
	switch {
	case parameter&^parameterSelector != 0, parameter < bootMailbox && block != 0, req.Data[2] != 0:
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
	h := b.host(host)
	h.bootFlagsUntil, h.bootFlagsEnded = time.Now().Add(bootFlagsTime), 0
}

// keepBootFlags begins that time again after a Chassis Control, if it is not over.
func (b *BMC) keepBootFlags(host int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, now := b.host(host), time.Now(); now.Before(h.bootFlagsUntil) {
		h.bootFlagsUntil = now.Add(bootFlagsTime)
	}
}

// expireBootFlags ends the flags if their time is over, or the host was reset, unless flag clearing
// keeps them.
func (b *BMC) expireBootFlags(host int) error {
	b.mu.Lock()
	h := b.host(host)
	until, ended := h.bootFlagsUntil, h.bootFlagsEnded
	h.bootFlagsEnded = 0
	b.mu.Unlock()
	if ended != 0 {
		if err := b.clearBootFlags(host, ended); err != nil {
			b.mu.Lock()
			h.bootFlagsEnded = ended
			b.mu.Unlock()
			return err
		}
	}
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
	return b.journal.write(putValue(bootSetting(host, bootFlags), validBootFlags(flags)...))
}
