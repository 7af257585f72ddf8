package dbuswire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/socket"
)

var (
	// ErrDisconnected: the connection to the message bus is closed or lost.
	ErrDisconnected = errors.New("connection to the message bus lost")
	// ErrSilent: the message bus has not answered when the time for Dial was over.
	ErrSilent = errors.New("it accepts the connection and does not answer")
	// ErrReply: the results of a call have the wrong types.
	ErrReply = errors.New("reply has the wrong signature")
)

// The message bus itself, as a peer (D-Bus specification, "Message Bus Messages").
const (
	BusName      = "org.freedesktop.DBus"
	BusPath      = dbus.ObjectPath("/org/freedesktop/DBus")
	BusInterface = "org.freedesktop.DBus"
)

// Config describes a connection. The zero value of every field but Address is its default:
// a client that serves no calls and gets no signals.
type Config struct {
	// Address is a D-Bus address, SystemBus or SessionBus.
	Address string
	// Call gets each method call in order of arrival, and reports whether it has taken it. The
	// others go to Objects. The reading goroutine calls it, maybe before Dial has returned: it
	// must not block. The message is valid until it returns, except as Message.Owned says.
	Call func(from *Conn, call *Message) bool
	// Objects serves the other method calls by means of godbus, except those that want no reply:
	// these are dropped.
	Objects dbus.Handler
	// Monitor: the connection sends no replies. The message bus disconnects a monitor that does.
	Monitor bool
	// Signal gets each signal in order of arrival. The reading goroutine calls it: it must
	// not block, and must not wait for a call.
	Signal func(*dbus.Signal)
}

// Conn is a connection to a message bus. Its methods may be called from several goroutines
// at once. Descriptors are not passed over it.
type Conn struct {
	*dbus.Conn // for the methods that this package does not wrap

	stream  *stream
	out     *outbox
	calls   calls
	replies replies
	serials serials
}

// Dial connects, authenticates with the EXTERNAL mechanism and says Hello. ctx limits the
// time of that, and not the life of the connection. If a message bus accepts the connection and
// has not answered when ctx ends, the error is ErrSilent and the error of ctx.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	addrs, err := addresses(config.Address)
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

func dialOne(ctx context.Context, addr *net.UnixAddr, config Config) (*Conn, error) {
	var dialer net.Dialer
	unix, err := dialer.DialContext(ctx, addr.Net, addr.Name)
	if err != nil {
		return nil, err
	}
	sock, err := socket.NewConn(unix.(*net.UnixConn))
	if err != nil {
		return nil, err
	}
	c := newConn(sock, config.Call)
	c.stream.monitor = config.Monitor
	unbind := context.AfterFunc(ctx, func() { _ = c.stream.Close() })
	err = c.handshake(config)
	if !unbind() {
		err = fmt.Errorf("%w: %w", ErrSilent, ctx.Err())
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// newConn makes a connection on a socket, and starts its writer.
func newConn(sock *socket.Conn, call func(*Conn, *Message) bool) *Conn {
	c := &Conn{}
	c.out = newOutbox(sock, &c.replies)
	c.stream = newStream(c, sock, call)
	return c
}

// Detached returns a connection to no message bus, for tests: it keeps the messages that it sends.
func Detached() *Conn { return &Conn{out: &outbox{busy: true}} }

func (c *Conn) handshake(config Config) error {
	objects := config.Objects
	if objects == nil {
		objects = noObjects{}
	}
	conn, err := dbus.NewConn(c.stream,
		dbus.WithHandler(objects),
		dbus.WithSignalHandler(signalFunc(config.Signal)),
		dbus.WithSerialGenerator(&c.serials))
	if err != nil {
		return err
	}
	c.Conn = conn
	context.AfterFunc(conn.Context(), c.calls.endCalls)
	// The message bus learns the uid from the socket; the text must agree.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return err
	}
	return conn.Hello()
}

// Close closes the connection: calls end with ErrDisconnected.
func (c *Conn) Close() error {
	err := c.stream.Close()
	if c.Conn != nil {
		_ = c.Conn.Close()
	}
	<-c.out.ended
	return err
}

// Done is closed when the connection is closed or lost.
func (c *Conn) Done() <-chan struct{} { return c.Context().Done() }

// Name returns the unique name that the message bus gave the connection: ":1.42".
func (c *Conn) Name() string { return c.Names()[0] }

// NewSerial returns the serial of the next message.
func (c *Conn) NewSerial() uint32 { return c.serials.GetSerial() }

// Ping returns when the reading goroutine waits for the socket. It also returns when ctx or
// the connection ends.
func (c *Conn) Ping(ctx context.Context) {
	over, cancel := context.WithCancel(c.Context())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	c.stream.ping(over.Done())
}

// Send sends one message or several, none of which is a reply. It does not block, and the
// memory belongs to the connection from then on. receipt may be nil.
func (c *Conn) Send(messages []byte, receipt Receipt) error {
	return c.out.sendMessage(outgoing{bytes: messages, receipt: receipt})
}

// Queue is Send without the write. If it reports true, the caller must call Flush, which writes.
func (c *Conn) Queue(messages []byte, receipt Receipt) (flush bool) {
	flush, _ = c.out.enqueueMessage(outgoing{bytes: messages, receipt: receipt})
	return flush
}

// Hold keeps messages of the connection from being written until Flush. If another goroutine is
// writing, Hold does nothing and returns false.
func (c *Conn) Hold() bool { return c.out.holdBack() }

// Flush ends Hold, and writes the messages that Queue has queued.
func (c *Conn) Flush() { c.out.flushQueue() }

// Together calls work. The messages that the connection sends meanwhile leave in one write, unless
// another goroutine is writing.
func (c *Conn) Together(work func()) {
	if c.Hold() {
		defer c.Flush()
	}
	work()
}

// AwaitRead returns when the message bus has read all but this many bytes of the messages sent.
// The kernel does not report that, so AwaitRead asks it once in a millisecond.
func (c *Conn) AwaitRead(bytes int) {
	for c.out.awaitRoom(bytes); c.out.unread() > bytes; c.out.awaitRoom(bytes) {
		time.Sleep(time.Millisecond)
	}
}

// AwaitReplies returns when each call that was read has got its reply, or when ctx ends.
func (c *Conn) AwaitReplies(ctx context.Context) { c.replies.awaitNone(ctx) }

// Method is a method of an object of another connection.
type Method struct {
	Destination string // a bus name
	Path        dbus.ObjectPath
	Interface   string
	Member      string
	// NoAutoStart: the message bus starts no service for the call.
	NoAutoStart bool
}

// Call calls a method and waits for its results. If the peer or the message bus returned an error,
// Call returns it as a dbus.Error, by value. If the connection is closed or breaks, it returns
// ErrDisconnected, and when ctx ends, the error of ctx.
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
		return nil, ErrDisconnected // Only a failure of the socket remains.
	}
}

// CallBus calls a method of the message bus itself.
func (c *Conn) CallBus(ctx context.Context, member string, args ...any) ([]any, error) {
	return c.Call(ctx, Method{Destination: BusName, Path: BusPath, Interface: BusInterface, Member: member}, args...)
}

// OwnerOf returns the unique name of the connection that owns a name.
func (c *Conn) OwnerOf(ctx context.Context, name string) (owner string, err error) {
	err = c.callBusFor(ctx, &owner, "GetNameOwner", name)
	return owner, err
}

// CallBusForNumber calls a method of the message bus whose result is a u.
func (c *Conn) CallBusForNumber(ctx context.Context, member string, args ...any) (n uint32, err error) {
	err = c.callBusFor(ctx, &n, member, args...)
	return n, err
}

// callBusFor calls a method of the message bus and stores its result.
func (c *Conn) callBusFor(ctx context.Context, result any, member string, args ...any) error {
	got, err := c.CallBus(ctx, member, args...)
	if err == nil && dbus.Store(got, result) != nil {
		return fmt.Errorf("%s: %w", member, ErrReply)
	}
	return err
}

// AddMatch asks the message bus for the signals that match a rule (D-Bus specification,
// "Match Rules").
func (c *Conn) AddMatch(ctx context.Context, rule string) error {
	if _, err := c.CallBus(ctx, "AddMatch", rule); err != nil {
		return fmt.Errorf("match rule %s: %w", rule, err)
	}
	return nil
}

// signalFunc hands signals to a function, in order.
type signalFunc func(*dbus.Signal)

func (f signalFunc) DeliverSignal(_, _ string, signal *dbus.Signal) {
	if f != nil {
		f(signal)
	}
}

// noObjects serves nothing.
type noObjects struct{}

func (noObjects) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return nil, false }
