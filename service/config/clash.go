package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// claims are the things of which there is one, such as names, by what they are.
type claims map[string]claimed

// claimed is a thing that an entry has. Another entry may have it, too, if both share it.
type claimed struct {
	owner  string
	shared bool
}

// want is what a channel or a host lays claim to, and the key and value that do.
type want struct {
	what   string
	key    string
	value  any
	shared bool
	remedy string // what to do when it is somebody's already, empty where that is plain
}

// wants implements [Entry]: index, device, name and bus name.
func (c Channel) wants(key string, faults []Fault) []want {
	sound := func(word string) bool { return !hasFault(faults, key+"."+word) }
	var wants []want
	if sound("type") && sound("devIndex") {
		wants = append(wants, want{what: fmt.Sprintf("index %d", c.Index()), key: key + ".devIndex", value: c.DevIndex})
	}
	if sound("slave-path") {
		wants = append(wants, want{what: "slave-path " + filepath.Clean(c.SlavePath), key: key + ".slave-path", value: c.SlavePath})
	}
	switch {
	case c.Name != "" && sound("name"):
		wants = append(wants, want{what: "name " + c.Name, key: key + ".name", value: c.Name})
	case c.Name == "" && sound("name") && sound("slave-path"):
		wants = append(wants, want{what: "name " + c.WithDefaults().Name, key: key + ".slave-path", value: c.SlavePath})
	}
	if c.Handler == HandlerHost {
		wants = append(wants, want{what: "bus name " + c.WithDefaults().BusName, key: key + ".bus-name", value: c.BusName, shared: true})
	}
	return wants
}

// wants implements [Entry]: path, name, bus name, and btbridge's name. A virtual machine is
// a host of its own and has a devIndex of its own.
func (c Host) wants(key string, _ []Fault) []want {
	name := c.Word()
	wants := []want{{what: "name " + name, key: key + ".name", value: c.Name}}
	if c.Type == HostVM {
		wants = append(wants, want{what: fmt.Sprintf("the machine of devIndex %d", c.DevIndex), key: key + ".devIndex", value: c.DevIndex,
			remedy: ": give each machine its own devIndex"})
	}
	wants = append(wants, want{what: "path " + c.Path, key: key + ".path", value: c.Path})
	if name != "" {
		wants = append(wants, want{what: "bus name " + name, key: key + ".name", value: c.Name})
	}
	if c.LegacyAPI {
		wants = append(wants, want{what: "org.openbmc.HostIpmi", key: key + ".legacy-api", value: c.LegacyAPI})
	}
	return wants
}

// wants implements [Entry]: name, a channel of the device, and index.
func (c OpenIPMI) wants(key string, _ []Fault) []want {
	full := c.WithDefaults()
	return []want{
		{what: "name " + strings.ReplaceAll(full.Name, "-", "_"), key: key + ".name", value: c.Name},
		{what: fmt.Sprintf("channel %d of %s", *full.IPMIChannel, c.Path), key: key + ".path", value: c.Path},
		{what: fmt.Sprintf("index %d", c.Index()), key: key + ".devIndex", value: c.DevIndex},
	}
}

// Clash is an error with a [Fault] for each thing that e needs and one of others has; nil if
// there is none. The faults' keys begin with key.
func Clash(key string, e Entry, others []Entry) error {
	taken := claims{}
	for _, other := range others {
		taken.add(other.wants("", nil), other.Title())
	}
	return join(taken.clashes(e.wants(key, nil)))
}

// clashes are the wants that belong to somebody already, one for each key.
func (t claims) clashes(wants []want) []Fault {
	var check checker
	for _, w := range wants {
		had, taken := t[w.what]
		free := !taken || had.shared && w.shared
		check.that(free || hasFault(check.faults, w.key), w.key, w.value, w.what+" belongs to "+had.owner+w.remedy)
	}
	return check.faults
}

// add gives the wants to an owner, but for those that have one.
func (t claims) add(wants []want, owner string) {
	for _, w := range wants {
		if _, taken := t[w.what]; !taken {
			t[w.what] = claimed{owner, w.shared}
		}
	}
}

// claim is clashes, and then add.
func (t claims) claim(owner string, wants []want) []Fault {
	faults := t.clashes(wants)
	t.add(wants, owner)
	return faults
}
