package service

import (
	"fmt"
	"path/filepath"
)

// claims is what must be a channel's alone, with the key of the channel that
// has it.
type claims map[string]string

// want is what a channel lays claim to, and the key and value that do.
type want struct {
	what  string
	key   string
	value any
}

// wants is what the channel at key lays claim to: index, device and name. What
// hangs on a key with a fault is left out.
func (c ChannelConfig) wants(key string, faults []Fault) []want {
	sound := func(word string) bool { return !hasFault(faults, key+"."+word) }
	var wants []want
	if sound("type") && sound("devIndex") {
		wants = append(wants, want{fmt.Sprintf("index %d", c.Index()), key + ".devIndex", c.DevIndex})
	}
	if sound("slave-path") {
		wants = append(wants, want{"slave-path " + filepath.Clean(c.SlavePath), key + ".slave-path", c.SlavePath})
	}
	switch {
	case c.Name != "" && sound("name"):
		wants = append(wants, want{"name " + c.Name, key + ".name", c.Name})
	case c.Name == "" && sound("name") && sound("slave-path"):
		wants = append(wants, want{"name " + c.WithDefaults().Name, key + ".slave-path", c.SlavePath})
	}
	return wants
}

// clashes are the wants that belong to a channel already.
func (t claims) clashes(wants []want) []Fault {
	var check checker
	for _, w := range wants {
		check.that(t[w.what] == "", w.key, w.value, w.what+" belongs to "+t[w.what])
	}
	return check.faults
}

// add gives the wants to the channel at key, but for those that have an owner.
func (t claims) add(wants []want, key string) {
	for _, w := range wants {
		if t[w.what] == "" {
			t[w.what] = key
		}
	}
}

// sharedChannels are the channels that Send Message does not reach, as another one
// of the same host has their IPMI channel number. That matters where some channel
// is bridged.
func (c Config) sharedChannels() []Fault {
	type number struct{ host, channel int }
	var check checker
	first := make(map[number]string)
	bridged := false
	for i, ch := range c.Channels {
		key, ch := item("channels", i), ch.WithDefaults()
		bridged = bridged || ch.bridged()
		n := number{ch.DevIndex, int(*ch.IPMIChannel)}
		check.that(first[n] == "", key+".ipmi-channel", n.channel, "is that of "+first[n]+", too, which Send Message reaches in its place")
		if first[n] == "" {
			first[n] = key
		}
	}
	if !bridged {
		return nil
	}
	return check.faults
}
