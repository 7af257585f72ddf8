package bmc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"runtime"
	"slices"
	"sync"
	"time"

	"ipmbd/ipmi"
)

// Codes of a test (section 22.30).
const (
	codeWrongPassword ipmi.CompletionCode = 0x80
	codeWrongSize     ipmi.CompletionCode = 0x81
)

// testPause is how long after a test that has failed the BMC tests no other password from the same
// interface.
const testPause = time.Second

// passwordTests bounds the tests of passwords: an interface has one at a time, and none for
// testPause after one that has failed. It takes hours then to try the words of a dictionary, and
// the tests of one interface do not keep another one from its own.
type passwordTests struct {
	blocking *ipmi.Blocking // serves the tests, for which later requests do not wait

	mu     sync.Mutex
	paused map[string]time.Time // until when, by interface; zero while a test is in progress
}

// begin begins a test, or reports that it must be refused.
func (p *passwordTests) begin(iface string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until, ok := p.paused[iface]; ok && (until.IsZero() || time.Now().Before(until)) {
		return false
	}
	p.paused[iface] = time.Time{}
	return true
}

// end ends the test of an interface.
func (p *passwordTests) end(iface string, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed {
		p.paused[iface] = time.Now().Add(testPause)
	} else {
		delete(p.paused, iface)
	}
}

// isPasswordTest reports whether a request is a test of a password.
func isPasswordTest(req *ipmi.Request) bool {
	return req.NetFn == ipmi.NetFnApp && req.Command == setUserPasswordCommand && req.Data[1] == testPassword
}

// testUserPassword tests a password as it is stored now. Later requests do not wait for the answer.
// A test that must be refused is answered Node Busy (C0h), with which a requester may try again
// (section 5.2).
func (b *BMC) testUserPassword(req *ipmi.Request, reply ipmi.Reply) {
	id, password, code := parseUserPassword(req.Data)
	switch {
	case code != ipmi.CodeOK:
		reply.Answer(refuse(code), nil)
		return
	case !b.tests.begin(req.Interface):
		reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
		return
	}
	stored := b.journal.value(userSetting(id, "password"))
	test := func(context.Context, *ipmi.Request) (ipmi.Response, error) {
		return refuse(b.comparePassword(stored, password)), nil
	}
	b.tests.blocking.Queue(test, req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
		b.tests.end(req.Interface, res.Code == codeWrongPassword || res.Code == codeWrongSize)
		return reply.Answer(res, err)
	}))
}

// comparePassword compares a password with a stored one. If none is stored, it is the empty one of
// 16 bytes.
func (b *BMC) comparePassword(stored, password []byte) ipmi.CompletionCode {
	isStored := len(stored) == passwordLength
	switch {
	case !isStored && len(password) != shortPassword:
		return codeWrongSize
	case !isStored && isZero(password):
		return ipmi.CodeOK
	case !isStored:
		return codeWrongPassword
	case int(stored[0]&^emptyPassword) != len(password):
		return codeWrongSize
	}
	hash := b.hashPassword(password, stored[1:1+saltLength])
	if subtle.ConstantTimeCompare(stored[1:], hash[1:]) == 0 {
		return codeWrongPassword
	}
	return ipmi.CodeOK
}

// The journal has the size of a password, a salt, and a hash of both.
const (
	emptyPassword  = 1 << 7 // beside the size: the password is all zeros
	saltLength     = 16
	passwordLength = 1 + saltLength + sha256.Size
	// hashRounds take a fraction of a second on a controller of 500 MHz.
	hashRounds = 10_000
	// roundsAtOnce are computed before other goroutines have their turn.
	roundsAtOnce = 16
)

// hashPassword is a password as the journal has it. One hash is computed at a time.
func (b *BMC) hashPassword(password, salt []byte) []byte {
	b.hashing.Lock()
	defer b.hashing.Unlock()
	size := byte(len(password))
	if isZero(password) {
		size |= emptyPassword
	}
	return slices.Concat([]byte{size}, salt, deriveKey(password, salt))
}

// deriveKey is PBKDF2 with HMAC-SHA-256, of one block (RFC 8018, section 5.2). crypto/pbkdf2 would
// keep a processor for all rounds, and a controller may have only one.
func deriveKey(password, salt []byte) []byte {
	mac := hmac.New(sha256.New, password)
	mac.Write(salt)
	mac.Write([]byte{0, 0, 0, 1})
	round := mac.Sum(nil)
	key := slices.Clone(round)
	for i := 1; i < hashRounds; i++ {
		mac.Reset()
		mac.Write(round)
		round = mac.Sum(round[:0])
		subtle.XORBytes(key, key, round)
		if i%roundsAtOnce == 0 {
			runtime.Gosched()
		}
	}
	return key
}
