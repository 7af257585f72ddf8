package bmc

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"

	"ipmbd/ipmi"
)

const (
	shortPassword = 16
	longPassword  = 20

	isLongPassword    = 1 << 7 // beside the user
	reservedPassword  = 1 << 6
	passwordOperation = 0x03
)

// Operations of Set User Password (IPMI v2.0, section 22.30).
const (
	disableUser = iota
	enableUser
	setPassword
	testPassword
)

// Codes of a test (section 22.30).
const (
	codeWrongPassword ipmi.CompletionCode = 0x80
	codeWrongSize     ipmi.CompletionCode = 0x81
)

// setUserPassword takes user and size, operation and password, which enabling and
// disabling do not need.
func setUserPassword(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response {
	id, ok := userID(req.Data[0])
	operation, password := req.Data[1], req.Data[2:]
	size := shortPassword
	if req.Data[0]&isLongPassword != 0 {
		size = longPassword
	}
	switch {
	case !ok, req.Data[0]&reservedPassword != 0, operation&^passwordOperation != 0:
		return refuse(ipmi.CodeInvalidField)
	case len(password) != size && (len(password) != 0 || operation >= setPassword):
		return refuse(ipmi.CodeLengthInvalid)
	}
	switch operation {
	case disableUser:
		return b.keep(ctx, userSetting(id, "state"), userDisabled)
	case enableUser:
		return b.keep(ctx, userSetting(id, "state"), userEnabled)
	case setPassword:
		return b.setPassword(ctx, id, password)
	}
	return b.testPassword(id, password)
}

// A password is kept as its size, a salt and a hash of both: nobody can read it.
const (
	saltLength     = 16
	passwordLength = 1 + saltLength + sha256.Size
	// hashRounds is what a controller of 500 MHz does in a fraction of a second.
	hashRounds = 10_000
)

func (b *BMC) setPassword(ctx context.Context, id byte, password []byte) ipmi.Response {
	var salt [saltLength]byte
	rand.Read(salt[:])
	kept, err := hashed(password, salt[:])
	if err != nil {
		return outcome(err)
	}
	return b.keep(ctx, userSetting(id, "password"), kept...)
}

func (b *BMC) testPassword(id byte, password []byte) ipmi.Response {
	kept := b.config.Settings.Setting(userSetting(id, "password"))
	if len(kept) != passwordLength {
		return refuse(codeWrongPassword)
	}
	if int(kept[0]) != len(password) {
		return refuse(codeWrongSize)
	}
	tested, err := hashed(password, kept[1:1+saltLength])
	if err != nil {
		return outcome(err)
	}
	if subtle.ConstantTimeCompare(kept, tested) == 0 {
		return refuse(codeWrongPassword)
	}
	return answer()
}

// hashed is a password as it is kept.
func hashed(password, salt []byte) ([]byte, error) {
	hash, err := pbkdf2.Key(sha256.New, string(password), salt, hashRounds, sha256.Size)
	if err != nil {
		return nil, err
	}
	kept := append([]byte{byte(len(password))}, salt...)
	return append(kept, hash...), nil
}
