package bmc

import (
	"context"
	"encoding/binary"
	"time"

	"ipmbd/ipmi"
)

// chassisCommands are the commands of the chassis device except boot options (IPMI v2.0, section
// 28).
var chassisCommands = []command{
	{ipmi.NetFnChassis, 0x00, 0, 0, atOnce, getChassisCapabilities},
	{ipmi.NetFnChassis, 0x01, 0, 0, atOnce, getChassisStatus},
	{ipmi.NetFnChassis, 0x02, 1, 1, acts, nil}, // chassisControl
	{ipmi.NetFnChassis, 0x04, 0, 2, atOnce, chassisIdentify},
	{ipmi.NetFnChassis, 0x06, 1, 1, waits, setPowerRestorePolicy},
	{ipmi.NetFnChassis, 0x07, 0, 0, atOnce, getRestartCause},
	{ipmi.NetFnChassis, 0x0F, 0, 0, atOnce, getPOHCounter},
}

// getChassisCapabilities answers with flags, which are all 0, and the addresses of the FRU, SDR,
// SEL, system management and bridge device (section 28.1). 00h is no FRU device 0.
func getChassisCapabilities(b *BMC, _ *ipmi.Request) ipmi.Response {
	const own = byte(ipmi.BMCAddress)
	var fru byte
	if supportWith(b.frus)&ipmi.SupportsFRU != 0 {
		fru = own
	}
	return answer(0, fru, own, own, own, own)
}

// Bits of Get Chassis Status (section 28.2).
const (
	statusPowerOn       = 1 << 0 // byte 2: current power state
	statusPolicyShift   = 5      // byte 2: power restore policy
	statusOnByCommand   = 1 << 4 // byte 3: last power event
	statusIdentifyShift = 4      // byte 4: an identifyState
	statusIdentifyKnown = 1 << 6 // byte 4: the state is supported
)

// getChassisStatus answers with the power state, the last power event and the identify state.
func getChassisStatus(b *BMC, req *ipmi.Request) ipmi.Response {
	state := b.setting(hostSetting(req.Host, powerRestoreSetting), policyAlwaysOff)[0] << statusPolicyShift
	if b.power(req) == PowerOn {
		state |= statusPowerOn
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	var event byte
	if h.byCommand {
		event |= statusOnByCommand
	}
	if h.identify == identifyForATime && !time.Now().Before(h.identifyUntil) {
		h.identify = identifyOff
	}
	return answer(state, event, statusIdentifyKnown|byte(h.identify)<<statusIdentifyShift)
}

const controlActionBits = 0x0F // of Chassis Control (section 28.3)

// chassisControl takes an action. A host that is off cannot be power cycled.
func (b *BMC) chassisControl(ctx context.Context, req *ipmi.Request) ipmi.Response {
	a := Action(req.Data[0] & controlActionBits)
	switch {
	case req.Data[0]&^controlActionBits != 0, a > SoftShutdown:
		return refuse(ipmi.CodeInvalidField)
	case a == PowerCycle && b.power(req) == PowerOff:
		return refuse(ipmi.CodeNotInState)
	}
	b.keepBootFlags(req.Host)
	return outcome(b.act(ctx, origin{req.Interface, req.Host, req.Channel, causeCommand}, a))
}

// identifyState is whether the chassis identifies itself (section 28.2).
type identifyState uint8

const (
	identifyOff identifyState = iota
	identifyForATime
	identifyForever
)

// Numbers of Chassis Identify (section 28.5).
const (
	identifyTime         = 15 * time.Second // if the request does not say
	identifyIndefinitely = 1 << 0
)

// chassisIdentify takes the time in seconds, 0 to end it, and whether it lasts for ever.
func chassisIdentify(b *BMC, req *ipmi.Request) ipmi.Response {
	wanted, length := identifyForATime, identifyTime
	if len(req.Data) > 0 {
		length = time.Duration(req.Data[0]) * time.Second
	}
	if length == 0 {
		wanted = identifyOff
	}
	if len(req.Data) > 1 {
		switch req.Data[1] {
		case identifyIndefinitely:
			wanted = identifyForever
		case 0:
		default:
			return refuse(ipmi.CodeInvalidField)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	h.identify, h.identifyUntil = wanted, time.Now().Add(length)
	return answer()
}

// Policies of Set Power Restore Policy (section 28.8).
const (
	powerRestoreSetting = "power-restore-policy"
	policyAlwaysOff     = 0
	policyNoChange      = 3
	policiesSupported   = 0x07 // all three
)

// setPowerRestorePolicy takes the behaviour of the host when power comes back: it stays off,
// returns to its former state, or powers up.
func setPowerRestorePolicy(b *BMC, req *ipmi.Request) ipmi.Response {
	policy := req.Data[0]
	if policy > policyNoChange {
		return refuse(ipmi.CodeInvalidField)
	}
	if policy != policyNoChange {
		if r := b.storeSetting(hostSetting(req.Host, powerRestoreSetting), policy); r.Code != ipmi.CodeOK {
			return r
		}
	}
	return answer(policiesSupported)
}

// getRestartCause answers with the cause, and the channel of the command that was the cause.
func getRestartCause(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(req.Host)
	return answer(byte(h.cause), byte(h.causeChannel))
}

// Power-on hours (section 28.14).
const (
	hoursSetting    = "power-on-hours"
	minutesPerCount = 60
)

// getPOHCounter answers with the hours that the BMC has run.
func getPOHCounter(b *BMC, _ *ipmi.Request) ipmi.Response {
	return answer(append([]byte{minutesPerCount}, b.powerOnHours()...)...)
}

// powerOnHours returns the whole hours since this start plus the hours of earlier starts.
func (b *BMC) powerOnHours() []byte {
	hours := uint32(time.Since(b.started) / (minutesPerCount * time.Minute))
	return binary.LittleEndian.AppendUint32(nil, b.hours.Load()+hours)
}

// storeHours stores the power-on hours. The journal reports an error itself.
func (b *BMC) storeHours() {
	_ = b.journal.write(putValue(hoursSetting, b.powerOnHours()...))
}
