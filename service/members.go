package service

import (
	"slices"
	"sync"

	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/service/config"
)

// members are the buses and host interfaces that there are, in the order they came.
// One at a time changes them; others look at any time.
type members struct {
	mu   sync.RWMutex
	list []*member
}

func (m *members) add(one *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, one)
}

func (m *members) remove(gone ...*member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = slices.DeleteFunc(m.list, func(one *member) bool { return slices.Contains(gone, one) })
}

// all is a copy of the list.
func (m *members) all() []*member {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.list)
}

// memberConfigs are the entries of a configuration with its defaults.
func memberConfigs(c config.Config) []memberConfig {
	var all []memberConfig
	for _, e := range c.Entries() {
		all = append(all, newMemberConfig(e))
	}
	return all
}

func newMemberConfig(e config.Entry) memberConfig {
	switch e := e.(type) {
	case config.Channel:
		return channelConfig{e}
	case config.Host:
		return hostConfig{e}
	default:
		return openIPMIConfig{e.(config.OpenIPMI)}
	}
}

// configs are what the members were made of.
func (m *members) configs() []memberConfig {
	var configs []memberConfig
	for _, one := range m.all() {
		configs = append(configs, one.config)
	}
	return configs
}

// named is the member of a name, nil for none.
func (m *members) named(name string) *member {
	for _, one := range m.all() {
		if one.config.name() == name {
			return one
		}
	}
	return nil
}

// iface is the bridge's interface of a name, nil for none.
func (m *members) iface(name string) *bridge.Interface {
	if one := m.named(name); one != nil {
		return one.bridgeInterface()
	}
	return nil
}

// buses and hosts are those members.
func (m *members) buses() []*channel       { return parts[*channel](m) }
func (m *members) hosts() []*hostInterface { return parts[*hostInterface](m) }

func parts[P part](m *members) []P {
	var found []P
	for _, one := range m.all() {
		if p, ok := one.part.(P); ok {
			found = append(found, p)
		}
	}
	return found
}

// sockets are where machines connect.
func (m *members) sockets() []string {
	var addresses []string
	for _, h := range m.hosts() {
		addresses = append(addresses, h.config.Path)
	}
	return addresses
}

// each does something with members at the same time, and waits.
func each(list []*member, do func(*member)) {
	var doing sync.WaitGroup
	for _, one := range list {
		doing.Go(func() { do(one) })
	}
	doing.Wait()
}

// nameField names a member in the log.
func nameField(c memberConfig) zap.Field {
	if _, ok := c.(hostConfig); ok {
		return zap.String("host", c.name())
	}
	return zap.String("bus", c.name())
}
