package bmc

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"ipmbd/ipmi"
)

// userCommands keep the users and their access to channels (IPMI v2.0, sections 22.26 to 22.30).
var userCommands = []command{
	{ipmi.NetFnApp, 0x43, 3, 4, waits, setUserAccess},
	{ipmi.NetFnApp, 0x44, 2, 2, atOnce, getUserAccess},
	{ipmi.NetFnApp, 0x45, 1 + userName, 1 + userName, waits, setUserName},
	{ipmi.NetFnApp, 0x46, 1, 1, atOnce, getUserName},
	{ipmi.NetFnApp, setUserPasswordCommand, 2, 2 + longPassword, waits, setUserPassword},
}

const (
	maxUsers   = 10
	nullUser   = 1 // its name is empty and cannot be changed
	fixedNames = 1
	userName   = 16 // bytes

	userIDBits   = 0x3F
	reservedUser = 0xC0

	changeAccess = 1 << 7 // the request sets bits 6 to 4
	accessBits   = 0x70   // callback only, link authentication, messaging
)

// States of a user in the response to Get User Access and in the journal.
const (
	userEnabled  = 1 << 6
	userDisabled = 2 << 6 // also before there has been a Set User Password
)

// userID is the user that a byte of a request names.
func userID(b byte) (id byte, ok bool) {
	id = b & userIDBits
	return id, id != 0 && id <= maxUsers
}

func userSetting(id byte, name string) string { return fmt.Sprintf("user/%d/%s", id, name) }

func accessSetting(id byte, c ipmi.Channel) string {
	return userSetting(id, fmt.Sprintf("channel/%d", c))
}

// userAccess is access bits and privilege limit of a user on a channel.
func (b *BMC) userAccess(id byte, c ipmi.Channel) byte {
	return b.setting(accessSetting(id, c), privilegeNone)[0]
}

func isPrivilege(level byte) bool {
	return level >= privilegeCallback && level <= privilegeOEM || level == privilegeNone
}

// setUserAccess takes access bits and channel, user, privilege limit, and maybe a limit of
// sessions, which is not supported: 0 is none.
func setUserAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, channelOK := b.channel(req, req.Data[0])
	id, userOK := userID(req.Data[1])
	privilege := req.Data[2]
	if !channelOK || !userOK || req.Data[1]&reservedUser != 0 || !isPrivilege(privilege) ||
		len(req.Data) > 3 && req.Data[3] != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	access := b.userAccess(id, c) & accessBits
	if req.Data[0]&changeAccess != 0 {
		access = req.Data[0] & accessBits
	}
	return b.storeSetting(accessSetting(id, c), access|privilege)
}

// getUserAccess takes channel and user. It answers with the number of users, of enabled ones and
// of fixed names, and the user's access.
func getUserAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, channelOK := b.channel(req, req.Data[0])
	id, userOK := userID(req.Data[1])
	if !channelOK || !userOK || req.Data[0]&^channelBits != 0 || req.Data[1]&reservedUser != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	var enabled byte
	for each := byte(1); each <= maxUsers; each++ {
		if b.userState(each) == userEnabled {
			enabled++
		}
	}
	return answer(maxUsers, b.userState(id)|enabled, fixedNames, b.userAccess(id, c))
}

func (b *BMC) userState(id byte) byte {
	return b.setting(userSetting(id, "state"), userDisabled)[0]
}

func (b *BMC) userName(id byte) []byte {
	return b.setting(userSetting(id, "name"), make([]byte, userName)...)
}

// kindsOfUsers are the kinds of the users that are enabled.
func (b *BMC) kindsOfUsers() (kinds byte) {
	for id := byte(1); id <= maxUsers; id++ {
		switch {
		case b.userState(id) != userEnabled:
		case !isZero(b.userName(id)):
			kinds |= namedUsers
		case b.hasPassword(id):
			kinds |= namelessUsers
		default:
			kinds |= anonymousUsers
		}
	}
	return kinds
}

// hasPassword reports whether a user has a password that is not empty. A user without a setting
// has the empty one.
func (b *BMC) hasPassword(id byte) bool {
	hash := b.journal.value(userSetting(id, "password"))
	return len(hash) == passwordLength && hash[0]&emptyPassword == 0
}

// setUserName takes user and name. The name is in ASCII (table 22-33) and, as it comes into logs
// and on terminals, without control characters. What follows a zero is not kept.
func setUserName(b *BMC, req *ipmi.Request) ipmi.Response {
	id, ok := userID(req.Data[0])
	if !ok || req.Data[0]&reservedUser != 0 || id == nullUser || !isASCII(req.Data[1:]) {
		return refuse(ipmi.CodeInvalidField)
	}
	var name [userName]byte
	text, _, _ := bytes.Cut(req.Data[1:], []byte{0})
	copy(name[:], text)
	return b.storeSetting(userSetting(id, "name"), name[:]...)
}

// getUserName takes a user. A user without a name has an empty one.
func getUserName(b *BMC, req *ipmi.Request) ipmi.Response {
	id, ok := userID(req.Data[0])
	if !ok || req.Data[0]&reservedUser != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(b.userName(id)...)
}

// Bits of Set User Password (section 22.30).
const (
	isLongPassword    = 1 << 7 // beside the user
	reservedPassword  = 1 << 6
	passwordOperation = 0x03

	shortPassword = 16 // bytes
	longPassword  = 20
)

// Operations of Set User Password (section 22.30).
const (
	disableUser = iota
	enableUser
	setPassword
	testPassword
)

// setUserPasswordCommand is Set User Password.
const setUserPasswordCommand ipmi.Command = 0x47

// parseUserPassword reads user and password of Set User Password. Enabling and disabling need no
// password.
func parseUserPassword(data []byte) (id byte, password []byte, code ipmi.CompletionCode) {
	id, ok := userID(data[0])
	operation, password := data[1], data[2:]
	size := shortPassword
	if data[0]&isLongPassword != 0 {
		size = longPassword
	}
	switch {
	case !ok, data[0]&reservedPassword != 0, operation&^passwordOperation != 0:
		code = ipmi.CodeInvalidField
	case len(password) != size && (len(password) != 0 || operation >= setPassword):
		code = ipmi.CodeLengthInvalid
	}
	return id, password, code
}

// setUserPassword takes user and size, operation, and a password. testUserPassword serves a test.
func setUserPassword(b *BMC, req *ipmi.Request) ipmi.Response {
	id, password, code := parseUserPassword(req.Data)
	if code != ipmi.CodeOK {
		return refuse(code)
	}
	switch req.Data[1] {
	case disableUser:
		return b.storeSetting(userSetting(id, "state"), userDisabled)
	case enableUser:
		return b.storeSetting(userSetting(id, "state"), userEnabled)
	}
	var salt [saltLength]byte
	rand.Read(salt[:])
	return b.storeSetting(userSetting(id, "password"), b.hashPassword(password, salt[:])...)
}
