package dbuswire

import (
	"context"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// maxErrorText limits the text of an error, in bytes: it may repeat the caller's arguments.
const maxErrorText = 8 << 10

// ReplyTo is the address of the reply to a method call.
type ReplyTo struct {
	Conn        *Conn
	Destination string // unique name of the caller
	Unwanted    bool   // the caller wants no reply
	serial      uint32 // of the call
}

// ReplyTo is the address of the reply to a call, without its destination.
func (c *Conn) ReplyTo(m *Message) ReplyTo {
	return ReplyTo{Conn: c, serial: m.Serial, Unwanted: !m.WantsReply()}
}

// Header is the header of a method return.
func (to *ReplyTo) Header(signature string) Header {
	return Header{
		Type:        TypeReturn,
		Flags:       FlagNoReply,
		Serial:      to.Conn.NewSerial(),
		ReplySerial: to.serial,
		Destination: to.Destination,
		Signature:   signature,
	}
}

// Send sends a reply, if one is wanted. If the connection is lost the reply is dropped.
// receipt may be nil.
func (to *ReplyTo) Send(reply []byte, receipt Receipt) {
	if !to.Unwanted {
		_ = to.Conn.out.sendMessage(outgoing{bytes: reply, reply: true, receipt: receipt})
	}
}

// Return sends a method return with this body.
func (to *ReplyTo) Return(signature string, body []byte) {
	if !to.Unwanted {
		h := to.Header(signature)
		to.Send(Finish(append(h.Begin(len(body)), body...)), nil)
	}
}

// Fail sends an error.
func (to *ReplyTo) Fail(err *dbus.Error) {
	if !to.Unwanted {
		to.Send(to.ErrorIn(nil, err), nil)
	}
}

// Drop ends a call that gets no reply, because its caller has left the message bus.
func (to *ReplyTo) Drop() {
	if !to.Unwanted {
		to.Conn.replies.countReply()
	}
}

// ErrorIn makes an error, in memory that the caller has.
func (to *ReplyTo) ErrorIn(b []byte, err *dbus.Error) []byte {
	h := to.Header("s")
	h.Type, h.ErrorName = TypeError, err.Name
	text := ""
	if len(err.Body) > 0 {
		text, _ = err.Body[0].(string)
	}
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "")
	}
	return Finish(AppendString(h.BeginIn(b), text))
}

// replies counts the calls that were read and have no reply yet. A call has been served
// before its reply is written, and a connection must not close between the two.
type replies struct {
	mu   sync.Mutex
	owed int
	none chan struct{} // closed when no call lacks a reply; nil while no wait is in progress
}

func (r *replies) countOwed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owed++
}

func (r *replies) countReply() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owed--
	if r.owed == 0 && r.none != nil {
		close(r.none)
		r.none = nil
	}
}

// awaitNone returns when no reply is owed, or when ctx ends.
func (r *replies) awaitNone(ctx context.Context) {
	r.mu.Lock()
	if r.owed == 0 {
		r.mu.Unlock()
		return
	}
	if r.none == nil {
		r.none = make(chan struct{})
	}
	none := r.none
	r.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
