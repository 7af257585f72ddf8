package dbusapi

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// method is one row of the table of methods. There are four kinds of methods:
//
//   - A method that sends has the functions parse, send and reply. The goroutine that reads the
//     connection sends the request or broadcast to a bus.
//   - A quick method does not block. The goroutine that reads the connection serves it while
//     no other call of the client waits.
//   - A method that reads changes nothing, does not block, and does not depend on the client:
//     calls that wait may share a reply.
//   - Every other method is an act, which may block. The acts of a client are served in turn.
type method struct {
	iface, member string
	in, out       string // signatures; the arguments of a call are of these types when it is served

	// parse reads the arguments, send sends the request, whose data is valid until send
	// returns, and reply makes the reply.
	parse func(*busCall, *dbuswire.Message) error
	send  func(*busCall) error
	reply func(*busCall, ipmi.Response, error) []byte

	quick func(*call) ([]any, error)

	// serve serves a read or an act. Its context ends when the client leaves.
	serve func(context.Context, *call) ([]any, error)
	reads bool

	// fail makes results of an error; nil for a D-Bus error by name.
	fail func(error) ([]any, error)
}

// call is a method call that is being served.
type call struct {
	server *Server
	object *object
	client *client // of an act
	sender string  // of an act or a quick call
	args   []any
}

// methods is the table of all methods of all interfaces.
func methods() []method {
	return []method{
		{iface: xml.LegacyInterface, member: "sendRequest", in: requestSignature, out: responseSignature,
			parse: parseLegacy, send: (*busCall).sendRequest, reply: (*busCall).statusReply},
		{iface: xml.BusInterface, member: "sendRequest", in: requestSignature, out: "yay",
			parse: parseRequest, send: (*busCall).sendRequest, reply: (*busCall).answerReply},
		{iface: xml.BusInterface, member: "sendRequestWithOptions", in: optionsSignature, out: "yay",
			parse: parseRequest, send: (*busCall).sendRequest, reply: (*busCall).answerReply},
		{iface: xml.BusInterface, member: "sendTracedRequest", in: optionsSignature, out: tracedSignature,
			parse: parseRequest, send: (*busCall).sendRequest, reply: (*busCall).tracedReply},
		{iface: xml.BusInterface, member: "sendBroadcast", in: broadcastSignature, out: "",
			parse: parseBroadcast, send: (*busCall).sendBroadcast, reply: (*busCall).emptyReply},
		{iface: xml.BusInterface, member: "sendResponse", in: "tyay", quick: sendResponse},
		{iface: xml.BusInterface, member: "bind", serve: ofBus((*bus.Bus).Bind)},
		{iface: xml.BusInterface, member: "unbind", serve: ofBus((*bus.Bus).Unbind)},
		{iface: xml.BusInterface, member: "GetStatistics", out: "a{st}", reads: true, serve: getStatistics},
		{iface: xml.HostInterface, member: "GetStatistics", out: "a{st}", reads: true, serve: getStatistics},
		{iface: xml.RouterInterface, member: "GetStatistics", out: "a{st}", reads: true, serve: getStatistics},

		{iface: xml.IntrospectableInterface, member: "Introspect", out: "s", reads: true, serve: introspect},
		{iface: xml.PropertiesInterface, member: "Get", in: "ss", out: "v", reads: true, serve: getProperty},
		{iface: xml.PropertiesInterface, member: "GetAll", in: "s", out: "a{sv}", reads: true, serve: getAllProperties},
		{iface: xml.PropertiesInterface, member: "Set", in: "ssv", serve: setProperty},
		{iface: xml.ObjectManagerInterface, member: "GetManagedObjects", out: "a{oa{sa{sv}}}", reads: true, serve: getManagedObjects},

		{iface: xml.SMSInterface, member: "setAttention", serve: setAttention(true), fail: smsFailure},
		{iface: xml.SMSInterface, member: "clearAttention", serve: setAttention(false), fail: smsFailure},
		{iface: xml.SMSInterface, member: "forceAbort", serve: forceAbort, fail: smsFailure},
		{iface: xml.HostIPMIInterface, member: "sendMessage", in: "yyyyyay", out: "x", quick: sendMessage, fail: errnoResult},
		{iface: xml.HostIPMIInterface, member: "setAttention", out: "x", serve: hostIPMISetAttention, fail: errnoResult},

		{iface: xml.RouterInterface, member: "RegisterHandler", in: "oa(yyuu)", serve: registerHandler},
		{iface: xml.RouterInterface, member: "UnregisterHandler", in: "o", serve: unregisterHandler},
		{iface: xml.RouterInterface, member: "Subscribe", serve: subscribe},
		{iface: xml.RouterInterface, member: "Unsubscribe", serve: unsubscribe},
		{iface: xml.RouterInterface, member: "SendStorageRequest", in: "yay", out: "yay", serve: sendStorageRequest},

		{iface: xml.ManagerInterface, member: "AddBus", in: "s", out: "o", serve: managerAdd(Manager.AddBus)},
		{iface: xml.ManagerInterface, member: "AddHost", in: "s", out: "o", serve: managerAdd(Manager.AddHost)},
		{iface: xml.ManagerInterface, member: "RemoveBus", in: "o", serve: managerRemove(Manager.RemoveBus)},
		{iface: xml.ManagerInterface, member: "RemoveHost", in: "o", serve: managerRemove(Manager.RemoveHost)},
		{iface: xml.ManagerInterface, member: "Reload", serve: managed(managerReload)},

		// Every path has these, whether there is an object or not.
		{iface: xml.PeerInterface, member: "Ping", quick: func(*call) ([]any, error) { return nil, nil }},
		{iface: xml.PeerInterface, member: "GetMachineId", out: "s", quick: machineID},
	}
}

// methodsByName makes the table of methods by interface and member.
func methodsByName() map[string]map[string]*method {
	table := make(map[string]map[string]*method)
	for _, m := range methods() {
		if table[m.iface] == nil {
			table[m.iface] = make(map[string]*method)
		}
		table[m.iface][m.member] = &m
	}
	return table
}

// boundMethod is a method of one object. Methods of org.freedesktop.DBus.Peer have no object.
type boundMethod struct {
	*method
	object *object
}

// findMethod finds the method that is called. The error is for the caller.
func (o *objects) findMethod(m *dbuswire.Message) (boundMethod, *dbus.Error) {
	found, failed := o.findNamed(m)
	if failed == nil && string(m.Signature) != found.in {
		return found, &dbus.Error{Name: xml.ErrorInvalidArgs, Body: []any{
			found.member + " takes arguments of the types '" + found.in + "', not '" + string(m.Signature) + "'"}}
	}
	return found, failed
}

// findNamed finds a method by path, interface and member. A call that names no interface gets the
// method of the first of the object's interfaces that has it. A call of Manager must name it: the
// rules of a message bus for an interface do not hold for a call that names no interface.
func (o *objects) findNamed(m *dbuswire.Message) (boundMethod, *dbus.Error) {
	var on *object
	if string(m.Interface) != xml.PeerInterface {
		if on = o.objectAt(m.Path); on == nil {
			return boundMethod{}, new(dbus.MakeNoObjectError(dbus.ObjectPath(m.Path)))
		}
		named := len(m.Interface) == 0
		for _, iface := range on.interfaces {
			found := o.methods[iface][string(m.Member)]
			if len(m.Interface) == 0 && found != nil && iface != xml.ManagerInterface {
				return boundMethod{found, on}, nil
			}
			named = named || iface == string(m.Interface)
		}
		if !named {
			return boundMethod{}, new(dbus.MakeUnknownInterfaceError(string(m.Interface)))
		}
	}
	if found := o.methods[string(m.Interface)][string(m.Member)]; found != nil {
		return boundMethod{found, on}, nil
	}
	return boundMethod{}, new(dbus.MakeUnknownMethodError(string(m.Member)))
}

// machineIDFiles are the files with the machine's ID (machine-id(5); D-Bus specification,
// "UUIDs").
var machineIDFiles = []string{"/etc/machine-id", "/var/lib/dbus/machine-id"}

func machineID(*call) ([]any, error) {
	const length = 32 // hexadecimal digits
	for _, name := range machineIDFiles {
		if text, err := os.ReadFile(name); err == nil && len(text) >= length {
			return []any{string(text[:length])}, nil
		}
	}
	return nil, &dbus.Error{Name: "org.freedesktop.DBus.Error.FileNotFound", Body: []any{"this machine has no id"}}
}

func introspect(_ context.Context, c *call) ([]any, error) {
	prefix := strings.TrimSuffix(string(c.object.path), "/") + "/"
	var children []string
	for _, one := range c.object.within.below(c.object.path) {
		if child := string(one.path[len(prefix):]); !strings.Contains(child, "/") {
			children = append(children, child)
		}
	}
	text, err := xml.Node(c.object.interfaces, children)
	return []any{text}, err
}

func getManagedObjects(_ context.Context, c *call) ([]any, error) {
	managed := make(map[dbus.ObjectPath]propertyMaps)
	for _, one := range c.object.within.below(c.object.path) {
		if maps := one.propertyMaps(); len(maps) > 0 {
			managed[one.path] = maps
		}
	}
	return []any{managed}, nil
}

// getStatistics answers with the counters of a bus, of a host interface, or of the service. They
// are no property, because clients read all properties of an object at once.
func getStatistics(_ context.Context, c *call) ([]any, error) {
	switch o := c.object; {
	case o.bus != nil:
		return []any{o.bus.statistics()}, nil
	case o.host != nil:
		return []any{o.host.statistics()}, nil
	default:
		return []any{o.server.Statistics()}, nil
	}
}

func getProperty(_ context.Context, c *call) ([]any, error) {
	p, err := c.property()
	if err != nil {
		return nil, err
	}
	return []any{dbus.MakeVariant(p.get(c.object.view()))}, nil
}

// getAllProperties takes the empty interface name for all interfaces.
func getAllProperties(_ context.Context, c *call) ([]any, error) {
	iface := c.args[0].(string)
	if err := c.checkInterface(iface); err != nil {
		return nil, err
	}
	all, v := make(map[string]dbus.Variant), c.object.view()
	for _, name := range c.object.interfaces {
		if iface == "" || iface == name {
			v.addVariants(all, name)
		}
	}
	return []any{all}, nil
}

func setProperty(ctx context.Context, c *call) ([]any, error) {
	p, err := c.property()
	if err != nil {
		return nil, err
	}
	if p.set == nil {
		return nil, &dbus.Error{Name: "org.freedesktop.DBus.Error.PropertyReadOnly", Body: []any{p.name + " cannot be written"}}
	}
	value := c.args[2].(dbus.Variant)
	if signature := value.Signature().String(); signature != p.signature {
		return nil, &dbus.Error{Name: xml.ErrorInvalidArgs, Body: []any{p.name + " is of type '" + p.signature + "', not '" + signature + "'"}}
	}
	if err := p.set(ctx, c.object.bus, value.Value()); err != nil {
		return nil, err
	}
	c.object.bus.Changed()
	return nil, nil
}

// property finds the property that the first two arguments name.
func (c *call) property() (property, error) {
	iface, name := c.args[0].(string), c.args[1].(string)
	if err := c.checkInterface(iface); err != nil {
		return property{}, err
	}
	for _, has := range c.object.interfaces {
		if iface != "" && iface != has {
			continue
		}
		table := properties(has)
		if i := slices.IndexFunc(table, func(p property) bool { return p.name == name }); i >= 0 {
			return table[i], nil
		}
	}
	return property{}, &dbus.Error{Name: "org.freedesktop.DBus.Error.UnknownProperty", Body: []any{"there is no property " + name}}
}

func (c *call) checkInterface(name string) error {
	if name == "" || slices.Contains(c.object.interfaces, name) {
		return nil
	}
	return &dbus.Error{Name: "org.freedesktop.DBus.Error.UnknownInterface", Body: []any{string(c.object.path) + " has no interface " + name}}
}
