package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"ipmbd/internal/readfile"
)

// Source is the file of a configuration. The zero value stands for no file, which is a
// configuration too: see [Config].Found.
type Source struct {
	Path string
	// OfIPMBBridge: the file is ipmbbridge's, and is read as ipmbbridge reads it; see [Parse].
	OfIPMBBridge bool
}

// String is the path.
func (s Source) String() string { return cmp.Or(s.Path, "no file") }

// Known returns the files that a start looks for, in order.
func Known() []Source {
	return []Source{
		{"/etc/ipmbd/ipmbd.json", false},
		{"/usr/share/ipmbbridge/ipmb-channels.json", true},
	}
}

// Named returns the source of a path that the user has named. It is ipmbbridge's file if the user
// says so, or if it is the path of [Known] at which ipmbbridge has its file.
func Named(path string, ofIPMBBridge bool) Source {
	known := slices.Contains(Known(), Source{filepath.Clean(path), true})
	return Source{path, ofIPMBBridge || known}
}

// Find returns the first source at which there is a file, or the zero value.
func Find(sources []Source) Source {
	for _, source := range sources {
		// A file that is there and cannot be read must not be passed over.
		if _, err := os.Stat(source.Path); !errors.Is(err, fs.ErrNotExist) {
			return source
		}
	}
	return Source{}
}

// Load reads the configuration of a source; see [Parse]. A file that hangs is an error after 2 s.
func Load(source Source) (*Config, []Fault, error) {
	if source == (Source{}) {
		return &Config{Found: true}, nil, nil
	}
	data, err := readfile.InTime(source.Path, maxConfigSize)
	if err != nil {
		return nil, nil, err
	}
	return Parse(source, data)
}

// Parse reads the configuration that a file holds.
//
// A file of ipmbbridge is read as ipmbbridge reads it. An entry without devIndex has the devIndex
// of the entry before it, the first of several entries with one index is served, and unknown keys
// are ignored. An entry with a fault, or of a type that is not served, is left out. There is a
// warning about each of these. The file is an error if it is not JSON, if it has no list
// "channels", or if all entries are left out.
//
// Any other file is strict: an unknown key and a bad value are errors, and devIndex is 0 where it
// is not given.
//
// The error has a line for each fault, each a [Fault]. Warnings are faults with which the daemon
// can run.
func Parse(source Source, data []byte) (*Config, []Fault, error) {
	r := reader{file: source.Path, data: data, lenient: source.OfIPMBBridge, places: map[string]node{}}
	if r.lenient {
		// ipmbbridge's parser skips it; blanks keep the places right.
		if rest, ok := strings.CutPrefix(string(data), byteOrderMark); ok {
			r.data = []byte("   " + rest)
		}
	}
	root, err := parseJSON(r.data)
	if err != nil {
		return nil, nil, r.unreadable(err)
	}
	config := r.config(root)
	if len(r.faults) > 0 {
		return nil, nil, join(r.faults)
	}
	sortByPlace(r.warnings)
	for i := range r.warnings {
		r.warnings[i].Warning = true
	}
	return &config, r.warnings, nil
}

// unreadable is the one fault of a text that is no JSON.
func (r *reader) unreadable(err *syntaxError) error {
	f := r.at(err.offset)
	f.Problem = err.problem
	return f
}

// config reads the file's object.
func (r *reader) config(root node) Config {
	config := Config{OfIPMBBridge: r.lenient}
	r.places[""] = root
	r.object(root, "", reflect.ValueOf(&config).Elem())
	list, ok := r.places["channels"]
	if !ok && r.lenient && root.kind == kindObject {
		r.fault(root, "channels", "is missing")
	}
	if list.kind == kindArray {
		config.Channels = r.channels(list)
	}
	if list := r.places["hosts"]; list.kind == kindArray {
		r.hosts(list, &config)
	}
	r.judge(config.faults())
	r.warnings = append(r.warnings, r.complete(config.warnings())...)
	switch {
	case len(config.Entries()) > 0:
	case len(list.members) > 0: // The reasons are no warnings then.
		r.fault(root, "channels", "none can be served")
		r.faults, r.warnings = append(r.faults, r.warnings...), nil
	default:
		r.warn(root, "channels", "none is served")
	}
	return config
}

// readEntry reads n, the entry at key, and returns the faults of the entry by itself.
func readEntry[E any](r *reader, n node, key string, e *E, faults func(E, string) []Fault) []Fault {
	before := len(r.faults)
	r.places[key] = n
	r.object(n, key, reflect.ValueOf(e).Elem())
	r.judge(faults(*e, key))
	return r.faults[before:]
}

// channels reads the entries of the list. A lenient reader leaves out those with faults.
func (r *reader) channels(list node) []Channel {
	var channels []Channel
	var keys []string
	taken, devIndex := claims{}, 0
	for i, m := range list.members {
		key, before := item("channels", i), len(r.faults)
		var channel Channel
		if r.lenient {
			channel.DevIndex = devIndex
		}
		own := readEntry(r, m.value, key, &channel, Channel.faults)
		devIndex = channel.DevIndex
		r.judge(taken.clashes(key, channel, own))
		if r.lenient && len(r.faults) > before {
			r.warnings = append(r.warnings, r.faults[before:]...)
			r.faults = r.faults[:before]
			r.warn(m.value, key, "is left out")
			continue
		}
		taken.add(key, channel, own)
		if r.lenient && channel.RemoteAddress == 0 {
			r.warn(m.value, below(key, "remote-addr"), "is missing: org.openbmc.Ipmb does not reach the bus")
		}
		channels, keys = append(channels, channel), append(keys, key)
		r.warnings = append(r.warnings, r.complete(channel.warnings(key))...)
	}
	r.warnings = append(r.warnings, r.complete(sharedNumbers(channels, keys))...)
	return channels
}

// hosts reads the entries of the list into a configuration that has its channels.
func (r *reader) hosts(list node, c *Config) {
	taken := claims{}
	for _, ch := range c.Channels {
		taken.add(ch.Title(), ch, nil)
	}
	for i, m := range list.members {
		var e hostEntry
		key := item("hosts", i)
		own := readEntry(r, m.value, key, &e, hostEntry.faults)
		r.judge(taken.clashes(key, e.entry(), own))
		taken.add(key, e.entry(), own)
		r.warnings = append(r.warnings, r.complete(e.warnings(key))...)
		if e.Type == typeOpenIPMI {
			c.OpenIPMI = append(c.OpenIPMI, e.openIPMI())
		} else {
			c.Hosts = append(c.Hosts, e.Host)
		}
	}
}

func sortByPlace(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// ParseChannel reads one object of the list "channels", as strictly as a file. Warnings and error
// are as those of [Parse]; their keys begin with "channel".
func ParseChannel(data []byte) (Channel, []Fault, error) {
	return parseOne(data, "channel", Channel.faults, Channel.warnings)
}

// ParseHost is ParseChannel for the list "hosts"; keys begin with "host". The entry is a [Host]
// or an [OpenIPMI], with its defaults.
func ParseHost(data []byte) (Entry, []Fault, error) {
	e, warnings, err := parseOne(data, "host", hostEntry.faults, hostEntry.warnings)
	if err != nil {
		return nil, nil, err
	}
	if e.Type == typeOpenIPMI {
		return e.openIPMI().WithDefaults(), warnings, nil
	}
	return e.Host.WithDefaults(), warnings, nil
}

// parseOne reads an object that no file holds.
func parseOne[E any](data []byte, key string, faults, warnings func(E, string) []Fault) (E, []Fault, error) {
	r := reader{data: data, places: map[string]node{}}
	var e E
	root, err := parseJSON(r.data)
	if err != nil {
		return e, nil, r.unreadable(err)
	}
	own := readEntry(&r, root, key, &e, faults)
	return e, r.complete(warnings(e, key)), join(own)
}
