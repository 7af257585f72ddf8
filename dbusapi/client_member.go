package dbusapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// Member is a bus or a host interface: one of the fields is not nil.
type Member struct {
	Bus  *BusInfo
	Host *HostInfo
}

// HostInfo is a host interface as the service shows it.
type HostInfo struct {
	HostProperties
	// Object is the path of the interface's object.
	Object dbus.ObjectPath
	// Statistics are the interface's counters by name.
	Statistics map[string]uint64
}

// Name is the member's name.
func (m Member) Name() string {
	if m.Host != nil {
		return m.Host.Name
	}
	return m.Bus.Name
}

// Device is the path of the member's device or socket.
func (m Member) Device() string {
	if m.Host != nil {
		return m.Host.Path
	}
	return m.Bus.Device
}

// Members are the buses and the host interfaces, by name with numbers in order.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	objects, err := c.managedObjects(ctx)
	if err != nil {
		return nil, err
	}
	var members []Member
	for path, interfaces := range objects {
		if properties, ok := interfaces[busObjectInterface]; ok {
			members = append(members, Member{Bus: new(newBusInfo(path, properties))})
		}
		if properties, ok := interfaces[hostObjectInterface]; ok {
			members = append(members, Member{Host: new(newHostInfo(path, properties))})
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return compareNames(a.Name(), b.Name()) })
	return members, nil
}

// Member is the bus or the host interface of a name. The error is an
// *UnknownMemberError when there is none.
func (c *Client) Member(ctx context.Context, name string) (Member, error) {
	members, err := c.Members(ctx)
	if err != nil {
		return Member{}, err
	}
	unknown := &UnknownMemberError{Name: name}
	for _, m := range members {
		if m.Name() == name {
			return m, nil
		}
		unknown.Known = append(unknown.Known, m.Name())
	}
	return Member{}, unknown
}

// newHostInfo reads the properties of a host interface, as newBusInfo does.
func newHostInfo(path dbus.ObjectPath, properties map[string]dbus.Variant) HostInfo {
	return HostInfo{
		HostProperties: HostProperties{
			Name:    propertyOf[string](properties, "Name"),
			Type:    propertyOf[string](properties, "Type"),
			Path:    propertyOf[string](properties, "Path"),
			Channel: ipmi.Channel(propertyOf[uint8](properties, "Channel")),
			Handler: propertyOf[string](properties, "Handler"),
			State:   State(propertyOf[string](properties, "State")),
			Reason:  propertyOf[string](properties, "StateReason"),
		},
		Object:     path,
		Statistics: propertyOf[map[string]uint64](properties, "Statistics"),
	}
}

// UnknownMemberError says that there is no bus and no host interface of a name.
type UnknownMemberError struct {
	Name  string
	Known []string // the names there are
}

// Error implements error.
func (e *UnknownMemberError) Error() string {
	return fmt.Sprintf("no bus and no host interface %q", e.Name)
}
