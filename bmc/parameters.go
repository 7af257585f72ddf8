package bmc

import (
	"bytes"
	"slices"

	"ipmbd/ipmi"
)

// setting is the value of a setting, or a default if no value of its length is stored. The caller
// must not change it.
func (b *BMC) setting(name string, otherwise ...byte) []byte {
	if value := b.journal.value(name); len(value) == len(otherwise) {
		return value
	}
	return otherwise
}

// storeSetting stores a setting and answers.
func (b *BMC) storeSetting(name string, value ...byte) ipmi.Response {
	return outcome(b.journal.write(putValue(name, value...)))
}

// isASCII reports whether bytes are a text in ASCII without control characters. A zero ends it.
func isASCII(b []byte) bool {
	text, _, _ := bytes.Cut(b, []byte{0})
	return !slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' })
}

// States of "set in progress", parameter 0 of each set of parameters (IPMI v2.0, sections 22.14a,
// 23.1, 28.12 and 30.3). The third one, commit write, is not supported: a parameter takes effect
// at once.
const (
	setComplete   = 0x00
	setInProgress = 0x01
)

// Numbers that all sets of parameters have in common (same sections).
const (
	parameterSetInProgress = 0
	parameterSelector      = 0x7F
	parameterRevision      = 0x11   // 1, compatible with 1
	onlyRevision           = 1 << 7 // in a request to get: nothing else
)

// Codes of commands that get and set parameters (same sections).
const (
	codeNoParameter ipmi.CompletionCode = 0x80
	codeAlreadySet  ipmi.CompletionCode = 0x81 // a set is in progress
	codeReadOnly    ipmi.CompletionCode = 0x82
)

// setProgress begins or ends setting a set of parameters. Programs learn of each other by it; it
// does not keep them from setting parameters. A reset of the host that has begun ends it.
func (b *BMC) setProgress(set string, host int, state []byte) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, begun := b.inProgress[set]
	r := mayProgress(begun, state)
	switch {
	case r.Code != ipmi.CodeOK:
	case state[0] == setComplete:
		delete(b.inProgress, set)
	default:
		b.inProgress[set] = host
	}
	return r
}

// mayProgress answers whether a set in progress, or not, may have a new state.
func mayProgress(begun bool, state []byte) ipmi.Response {
	switch {
	case len(state) != 1:
		return refuse(ipmi.CodeLengthInvalid)
	case state[0] != setComplete && state[0] != setInProgress:
		return refuse(ipmi.CodeInvalidField)
	case begun && state[0] == setInProgress:
		return refuse(codeAlreadySet)
	}
	return answer()
}

func (b *BMC) progress(set string) byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, begun := b.inProgress[set]; begun {
		return setInProgress
	}
	return setComplete
}
