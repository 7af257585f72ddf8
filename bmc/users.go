package bmc

import (
	"context"
	"fmt"

	"ipmbd/ipmi"
)

// userCommands keep the users and what each may do on a channel (IPMI v2.0,
// sections 22.26 to 22.30).
var userCommands = []command{
	{ipmi.NetFnApp, 0x43, 3, 4, waits(setUserAccess)},
	{ipmi.NetFnApp, 0x44, 2, 2, atOnce(getUserAccess)},
	{ipmi.NetFnApp, 0x45, 1 + userName, 1 + userName, waits(setUserName)},
	{ipmi.NetFnApp, 0x46, 1, 1, atOnce(getUserName)},
	{ipmi.NetFnApp, 0x47, 2, 2 + longPassword, waits(setUserPassword)},
}

const (
	// maxUsers is how many users there are.
	maxUsers = 10
	// nullUser is the one whose name is empty and cannot be changed.
	nullUser   = 1
	fixedNames = 1
	userName   = 16 // bytes

	userIDBits   = 0x3F
	reservedUser = 0xC0

	changeAccess       = 1 << 7 // bits 6 to 4 are to be set
	accessBits         = 0x70   // callback only, link authentication, messaging
	reservedPrivileges = 0xF0
	sessionLimitBits   = 0x0F
)

// Whether a user is enabled, as Get User Access has it and as it is kept.
const (
	userUnspecified = 0 << 6 // Set User Password has not been there yet
	userEnabled     = 1 << 6
	userDisabled    = 2 << 6
)

// userID is the user that a byte of a request means.
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

// setUserAccess takes access bits and channel, user, privilege limit, and maybe a
// limit of sessions, of which there are none.
func setUserAccess(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response {
	c, channelOK := b.channel(req, req.Data[0])
	id, userOK := userID(req.Data[1])
	privilege := req.Data[2]
	if !channelOK || !userOK || req.Data[1]&reservedUser != 0 || !isPrivilege(privilege) ||
		len(req.Data) > 3 && req.Data[3]&^sessionLimitBits != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	access := b.userAccess(id, c) & accessBits
	if req.Data[0]&changeAccess != 0 {
		access = req.Data[0] & accessBits
	}
	return b.keep(ctx, accessSetting(id, c), access|privilege)
}

// getUserAccess takes channel and user. The answer is the number of users, of
// which enabled, with fixed names, and the user's access.
func getUserAccess(b *BMC, req *ipmi.Request) ipmi.Response {
	c, channelOK := b.channel(req, req.Data[0])
	id, userOK := userID(req.Data[1])
	if !channelOK || !userOK || req.Data[0]&^channelBits != 0 || req.Data[1]&reservedUser != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(maxUsers, b.userState(id)|b.enabledUsers(), fixedNames, b.userAccess(id, c))
}

func (b *BMC) userState(id byte) byte {
	return b.setting(userSetting(id, "state"), userUnspecified)[0]
}

func (b *BMC) enabledUsers() (count byte) {
	for id := byte(1); id <= maxUsers; id++ {
		if b.userState(id) == userEnabled {
			count++
		}
	}
	return count
}

// setUserName takes user and name.
func setUserName(b *BMC, ctx context.Context, req *ipmi.Request) ipmi.Response {
	id, ok := userID(req.Data[0])
	if !ok || req.Data[0]&reservedUser != 0 || id == nullUser {
		return refuse(ipmi.CodeInvalidField)
	}
	return b.keep(ctx, userSetting(id, "name"), req.Data[1:]...)
}

// getUserName takes a user. A user without a name has an empty one.
func getUserName(b *BMC, req *ipmi.Request) ipmi.Response {
	id, ok := userID(req.Data[0])
	if !ok || req.Data[0]&reservedUser != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(b.setting(userSetting(id, "name"), make([]byte, userName)...)...)
}
