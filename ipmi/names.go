package ipmi

import (
	"fmt"
	"strconv"
	"strings"
)

// String is the one-word name of a request's network function ("app"), the
// same with " response" for a response's, or the number ("30h").
func (n NetFn) String() string {
	name := netFnName(n.Request())
	switch {
	case name == "":
		return fmt.Sprintf("%02Xh", uint8(n))
	case n.IsResponse():
		return name + " response"
	}
	return name
}

// CommandName is the standard's name of a command in kebab-case
// ("get-device-id"), or its number ("A5h"). n may be the netFn of the request
// or of the response.
func CommandName(n NetFn, cmd Command) string {
	if name := commandName(n.Request(), cmd); name != "" {
		return name
	}
	return fmt.Sprintf("%02Xh", uint8(cmd))
}

// ParseNetFn reads the network function of a request: a name as String gives
// it, or an even number up to 3Eh, written 6, 0x06 or 06h. Its errors are for
// people and suggest names.
func ParseNetFn(s string) (NetFn, error) {
	for n, name := range netFnNames {
		if name != "" && strings.EqualFold(name, s) {
			return NetFn(n), nil
		}
	}
	v, isNumber := parseByte(s)
	n := NetFn(v)
	switch {
	case !isNumber:
		return 0, fmt.Errorf("no netFn %q; %s", s, hint(s, netFnNames[:]))
	case n > MaxNetFn:
		return 0, fmt.Errorf("netFn %02Xh is larger than %02Xh", v, uint8(MaxNetFn-1))
	case n.IsResponse():
		return 0, fmt.Errorf("netFn %02Xh is that of a response; the request's is %02Xh", v, v-1)
	}
	return n, nil
}

// ParseCommand reads a command of network function n: a name as CommandName
// gives it, or a number up to FFh, written 1, 0x01 or 01h. Its errors are for
// people and suggest names.
func ParseCommand(n NetFn, s string) (Command, error) {
	n = n.Request()
	if cmd, ok := findCommand(n, s); ok {
		return cmd, nil
	}
	if v, isNumber := parseByte(s); isNumber {
		return Command(v), nil
	}
	for other := range NetFn(len(commandNames)) {
		if _, ok := findCommand(other, s); ok {
			return 0, fmt.Errorf("%s has no command %q; it is one of %s", n, s, other)
		}
	}
	return 0, fmt.Errorf("%s has no command %q; %s", n, s, hint(s, namesOf(n)))
}

func netFnName(n NetFn) string {
	if int(n) < len(netFnNames) {
		return netFnNames[n]
	}
	return ""
}

func commandName(n NetFn, cmd Command) string {
	if names := namesOf(n); int(cmd) < len(names) {
		return names[cmd]
	}
	return ""
}

func findCommand(n NetFn, s string) (Command, bool) {
	for cmd, name := range namesOf(n) {
		if name != "" && strings.EqualFold(name, s) {
			return Command(cmd), true
		}
	}
	return 0, false
}

// namesOf are the names of the commands of n by number, "" between them.
func namesOf(n NetFn) []string {
	if int(n) < len(commandNames) {
		return commandNames[n]
	}
	return nil
}

// parseByte reads a number up to 255 as command lines and as the standard
// write it: 44, 0x2C, 2Ch.
func parseByte(s string) (v uint8, ok bool) {
	digits, base := strings.ToLower(s), 10
	if hex, found := strings.CutPrefix(digits, "0x"); found {
		digits, base = hex, 16
	} else if hex, found := strings.CutSuffix(digits, "h"); found {
		digits, base = hex, 16
	}
	u, err := strconv.ParseUint(digits, base, 8)
	return uint8(u), err == nil
}
