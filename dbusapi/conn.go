package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/socket"
)

// ErrDisconnected: the connection to the message bus is closed or lost.
var ErrDisconnected = errors.New("connection to the message bus lost")

// The message bus itself, as a peer (D-Bus specification, "Message Bus
// Messages").
const (
	busName      = "org.freedesktop.DBus"
	busPath      = dbus.ObjectPath("/org/freedesktop/DBus")
	busInterface = "org.freedesktop.DBus"
)

// ConnConfig describes a connection. The zero value of every field but Address
// is its default: a client that serves nothing and hears nothing.
type ConnConfig struct {
	// Address is a D-Bus address, SystemBus or SessionBus.
	Address string
	// Objects serves the method calls of others.
	Objects dbus.Handler
	// Signal gets each signal in the order of arrival. It is called from the
	// reading goroutine: it must not block, and must not wait for a call.
	Signal func(*dbus.Signal)

	// take is shown each method call before the library, see stream.
	take func(s *stream, call *wireMessage) bool
}

// Conn is a connection to a message bus. Its methods may be called from
// several goroutines at once. Descriptors are not passed over it.
type Conn struct {
	*dbus.Conn // what this package does not wrap

	stream *stream
}

// Dial connects, authenticates with the EXTERNAL mechanism and says Hello. ctx
// bounds the time that takes, not the connection's life.
func Dial(ctx context.Context, config ConnConfig) (*Conn, error) {
	address, err := resolve(config.Address)
	if err != nil {
		return nil, err
	}
	addrs, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, addr := range addrs {
		conn, err := dialOne(ctx, addr, config)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, fmt.Errorf("message bus at %s: %w", addr.Name, err))
	}
	return nil, errors.Join(failures...)
}

func dialOne(ctx context.Context, addr *net.UnixAddr, config ConnConfig) (*Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, addr.Net, addr.Name)
	if err != nil {
		return nil, err
	}
	sock, err := socket.NewConn(conn.(*net.UnixConn))
	if err != nil {
		return nil, err
	}
	c := &Conn{stream: newStream(sock)}
	c.stream.out = newOutbox(sock, &c.stream.replies)
	c.stream.take = config.take
	unbind := context.AfterFunc(ctx, func() { _ = c.stream.Close() })
	err = c.handshake(config)
	if !unbind() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return c, nil
}

func (c *Conn) handshake(config ConnConfig) error {
	objects := config.Objects
	if objects == nil {
		objects = noObjects{}
	}
	conn, err := dbus.NewConn(c.stream,
		dbus.WithHandler(objects),
		dbus.WithSignalHandler(signalFunc(config.Signal)),
		dbus.WithSerialGenerator(&c.stream.serials))
	if err != nil {
		return err
	}
	c.Conn = conn
	context.AfterFunc(conn.Context(), c.stream.pending.close)
	// The message bus learns the uid from the socket; the text must agree.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return err
	}
	return conn.Hello()
}

// Close ends the connection: calls end with ErrDisconnected.
func (c *Conn) Close() error {
	err := c.stream.Close()
	if c.Conn != nil {
		_ = c.Conn.Close()
	}
	<-c.stream.out.ended
	return err
}

// Done is closed when the connection is closed or lost.
func (c *Conn) Done() <-chan struct{} { return c.Context().Done() }

// Name is the unique name that the message bus gave the connection: ":1.42".
func (c *Conn) Name() string { return c.Names()[0] }

// Method is a method of an object of another connection.
type Method struct {
	Destination string // a bus name
	Path        dbus.ObjectPath
	Interface   string
	Member      string
	// NoAutoStart: do not start a service for the call.
	NoAutoStart bool
}

// Call calls a method and waits for its results. An error that the peer or the
// message bus returned is a dbus.Error, by value; a connection that is closed
// or breaks is ErrDisconnected; the end of ctx is its error.
func (c *Conn) Call(ctx context.Context, m Method, args ...any) ([]any, error) {
	var flags dbus.Flags
	if m.NoAutoStart {
		flags |= dbus.FlagNoAutoStart
	}
	call := c.Object(m.Destination, m.Path).CallWithContext(ctx, m.Interface+"."+m.Member, flags, args...)
	switch err := call.Err.(type) {
	case nil:
		return call.Body, nil
	case dbus.Error:
		return nil, err
	case dbus.FormatError, dbus.InvalidMessageError, dbus.InvalidTypeError:
		return nil, fmt.Errorf("%s.%s: %w", m.Interface, m.Member, err)
	default:
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// What else remains is a failure of the socket.
		return nil, ErrDisconnected
	}
}

// callBus calls a method of the message bus itself.
func (c *Conn) callBus(ctx context.Context, member string, args ...any) ([]any, error) {
	return c.Call(ctx, Method{Destination: busName, Path: busPath, Interface: busInterface, Member: member}, args...)
}

// busNameCall is a call of a method of the message bus that takes a name.
func busNameCall(serial uint32, member, name string) []byte {
	h := wireHeader{
		kind:        wireCall,
		serial:      serial,
		path:        string(busPath),
		iface:       busInterface,
		member:      member,
		destination: busName,
		signature:   "s",
	}
	return finish(appendString(h.marshal(len(name)+8), name))
}

// ownerOf is the unique name of the connection that owns a name.
func (c *Conn) ownerOf(ctx context.Context, name string) (owner string, err error) {
	got, err := c.callBus(ctx, "GetNameOwner", name)
	if err != nil {
		return "", err
	}
	if err := dbus.Store(got, &owner); err != nil {
		return "", fmt.Errorf("GetNameOwner: %w", errReply)
	}
	return owner, nil
}

// errReply: the results of a call are not of the types they should be.
var errReply = errors.New("reply has the wrong signature")

func firstUint32(results []any) (uint32, bool) {
	if len(results) != 1 {
		return 0, false
	}
	n, ok := results[0].(uint32)
	return n, ok
}

// AddMatch asks the message bus for the signals that match a rule (D-Bus
// specification, "Match Rules").
func (c *Conn) AddMatch(ctx context.Context, rule string) error {
	if _, err := c.callBus(ctx, "AddMatch", rule); err != nil {
		return fmt.Errorf("match rule %s: %w", rule, err)
	}
	return nil
}

// signalFunc hands signals to a function, in order.
type signalFunc func(*dbus.Signal)

// DeliverSignal implements dbus.SignalHandler.
func (f signalFunc) DeliverSignal(_, _ string, signal *dbus.Signal) {
	if f != nil {
		f(signal)
	}
}

// noObjects serves nothing.
type noObjects struct{}

// LookupObject implements dbus.Handler.
func (noObjects) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
