package config

import (
	"slices"
	"strings"

	"ipmbd/ipmi"
)

// CommandFilter denies commands on some channels. A request that an entry denies
// is answered D4h and reaches no handler.
type CommandFilter struct {
	// Channels are the names of the channels and hosts; empty: all.
	Channels []string // channels
	// Allow and Deny are as in ipmi.Filter. A file has a text for each: a netFn,
	// or a netFn and a command, such as "chassis" and "app cold-reset".
	Allow []ipmi.Commands // allow
	Deny  []ipmi.Commands // deny
}

// policyKeys are the keys of one entry.
var policyKeys = setters[CommandFilter]{
	"channels": func(r *reader, n node, key string, p *CommandFilter) { r.texts(n, key, &p.Channels) },
	"allow":    func(r *reader, n node, key string, p *CommandFilter) { r.commands(n, key, &p.Allow) },
	"deny":     func(r *reader, n node, key string, p *CommandFilter) { r.commands(n, key, &p.Deny) },
}

// commands reads a list of texts.
func (r *reader) commands(n node, key string, into *[]ipmi.Commands) {
	if !r.want(n, key, kindArray) {
		return
	}
	for i, element := range n.items {
		*into = append(*into, r.command(element, item(key, i)))
	}
}

func (r *reader) command(n node, key string) ipmi.Commands {
	if !r.want(n, key, kindString) {
		return ipmi.Commands{}
	}
	words := strings.Fields(n.text)
	if len(words) < 1 || len(words) > 2 {
		r.fault(n, key, `must be a netFn, or a netFn and a command, such as "app cold-reset"`)
		return ipmi.Commands{}
	}
	c, err := ipmi.ParseCommands(words)
	switch {
	case err != nil:
		r.fault(n, key, err.Error())
	case len(words) == 2 && c.Command == ipmi.AnyCommand:
		r.fault(n, key, "FFh stands for all commands: leave it out for all, it cannot be named by itself")
	}
	return c
}

// policyFaults is what is wrong with the policy. Names are those of all
// channels.
func (c Config) policyFaults() []Fault {
	var check checker
	names := c.channelNames()
	for _, h := range c.Hosts {
		names = append(names, h.WithDefaults().Name)
	}
	for _, o := range c.OpenIPMI {
		names = append(names, o.WithDefaults().Name)
	}
	for i, p := range c.Policy {
		key := item("policy", i)
		check.that(len(p.Allow)+len(p.Deny) > 0, key+".deny", "", `is missing, as is "allow": the entry denies nothing`)
		for j, name := range p.Channels {
			check.that(slices.Contains(names, name), item(key+".channels", j), name, "is the name of no channel and no host")
		}
	}
	return check.faults
}
