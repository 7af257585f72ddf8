package config

import "strings"

// maxWord is the longest word, in bytes, that a configuration may put into a
// D-Bus name, which may have 255 bytes in all.
const maxWord = 64

// reservedName is no bus's, since D-Bus objects of other kinds are below it.
const reservedName = "handlers"

// isObjectWord reports whether s can be one element of a D-Bus object path
// (D-Bus specification, "Valid Object Paths").
func isObjectWord(s string) bool {
	return s != "" && strings.IndexFunc(s, isNotObjectRune) < 0
}

// isBusWord reports whether s can be one element of a well-known D-Bus name
// (D-Bus specification, "Bus names").
func isBusWord(s string) bool {
	return isObjectWord(strings.ReplaceAll(s, "-", "_")) && !('0' <= s[0] && s[0] <= '9')
}

// channelNames are the names of the channels.
func (c Config) channelNames() []string {
	var names []string
	for _, ch := range c.Channels {
		names = append(names, ch.WithDefaults().Name)
	}
	return names
}

// isWellKnownName reports whether s is a well-known D-Bus name: no unique name
// and at least two elements.
func isWellKnownName(s string) bool {
	words := strings.Split(s, ".")
	for _, word := range words {
		if !isBusWord(word) {
			return false
		}
	}
	return len(words) >= 2 && len(s) <= 255
}

func isNotObjectRune(r rune) bool {
	return !(r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
}
