package config

import (
	"fmt"
	"path/filepath"

	"ipmbd/bus"
)

// want is something that an entry needs and that only one entry can have.
type want struct {
	what   string // "name bus5"
	key    string // of the entry: says what the entry wants
	value  any    // of the key
	needs  string // another key that has to be good, empty for none
	shared bool   // entries that share it may all have it
	remedy string // what to do if another entry has it, unless that is plain
}

// wants implements [Entry]: index, device, name and bus name.
func (c Channel) wants() []want {
	full := c.WithDefaults()
	name := want{what: "name " + full.Name, key: "name", value: c.Name}
	if c.Name == "" {
		name.key, name.value, name.needs = "slave-path", c.SlavePath, "name"
	}
	wants := []want{
		{what: fmt.Sprintf("index %d", c.Index()), key: "devIndex", value: c.DevIndex, needs: "type",
			shared: c.Index() == bus.NoIndex},
		{what: "slave-path " + filepath.Clean(c.SlavePath), key: "slave-path", value: c.SlavePath},
		name,
	}
	if c.Handler == HandlerHost {
		name := want{what: "bus name " + full.BusName, key: "bus-name", value: c.BusName, shared: true}
		wants = append(wants, name)
	}
	return wants
}

// wants implements [Entry]: path, name, bus name, and btbridge's name. A virtual machine is a host
// by itself and needs a devIndex that no other host has.
func (c Host) wants() []want {
	wants := []want{
		{what: "name " + c.Word(), key: "name", value: c.Name},
		{what: "bus name " + c.Word(), key: "name", value: c.Name},
		{what: "path " + c.Path, key: "path", value: c.Path},
	}
	if c.Type == HostVM {
		wants = append(wants, want{what: fmt.Sprintf("the machine of devIndex %d", c.DevIndex),
			key: "devIndex", value: c.DevIndex, remedy: ": give each machine its own devIndex"})
	}
	if c.LegacyAPI {
		wants = append(wants, want{what: "org.openbmc.HostIpmi", key: "legacy-api", value: c.LegacyAPI})
	}
	return wants
}

// wants implements [Entry]: name, a channel of the device, and index.
func (c OpenIPMI) wants() []want {
	full := c.WithDefaults()
	return []want{
		{what: "name " + objectWord(full.Name), key: "name", value: c.Name},
		{what: fmt.Sprintf("channel %d of %s", *full.IPMIChannel, c.Path), key: "path", value: c.Path},
		{what: fmt.Sprintf("index %d", c.Index()), key: "devIndex", value: c.DevIndex},
	}
}

// claims has the owner of each thing that an entry has.
type claims map[string]claim

type claim struct {
	owner  string // title or key of the entry
	shared bool
}

// Clash returns an error with a [Fault] for each thing that e needs and another entry has, or nil.
// The faults' keys begin with key.
func Clash(key string, e Entry, others []Entry) error {
	taken := claims{}
	for _, other := range others {
		taken.add(other.Title(), other, nil)
	}
	return join(taken.clashes(key, e, nil))
}

// clashes returns a fault for each thing that the entry at key wants and another entry has, at
// most one for each key. It leaves out wants whose keys are among the faults of the entry.
func (t claims) clashes(key string, e Entry, faults []Fault) []Fault {
	var check checker
	for _, w := range e.wants() {
		had, taken := t[w.what]
		at := key + "." + w.key
		free := !taken || had.shared && w.shared || hasFault(faults, at) || hasFault(faults, key+"."+w.needs)
		check.that(free || hasFault(check.faults, at), at, w.value, w.what+" belongs to "+had.owner+w.remedy)
	}
	return check.faults
}

// add gives an entry everything that it wants and no other entry has, except wants whose keys are
// among the faults of the entry. owner names the entry in later faults, and its keys begin with
// it.
func (t claims) add(owner string, e Entry, faults []Fault) {
	for _, w := range e.wants() {
		_, taken := t[w.what]
		if !taken && !hasFault(faults, owner+"."+w.key) && !hasFault(faults, owner+"."+w.needs) {
			t[w.what] = claim{owner, w.shared}
		}
	}
}
