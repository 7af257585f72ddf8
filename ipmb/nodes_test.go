package ipmb_test

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The behaviour of nodes. Answers carry the data of their request, so that each answer names its
// request.

// nack does not acknowledge its address.
func nack(*bus, []byte) error { return i2c.ErrAddressNotAcknowledged }

// nackByte does not acknowledge some byte.
func nackByte(*bus, []byte) error { return i2c.ErrNotAcknowledged }

// outbid wins the arbitration against each frame.
func outbid(*bus, []byte) error { return i2c.ErrArbitrationLost }

// broken holds the clock low.
func broken(*bus, []byte) error { return i2c.ErrStuck }

// silent takes frames and says nothing.
func silent(*bus, []byte) error { return nil }

// responder is a node that deals with requests and takes all else in silence.
func responder(serve func(b *bus, request []byte)) node {
	return func(b *bus, frame []byte) error {
		if f, err := ipmb.Decode(frame); err == nil && !f.NetFn.IsResponse() {
			serve(b, frame)
		}
		return nil
	}
}

// prompt answers at once.
func prompt(b *bus, frame []byte) error { return late(0)(b, frame) }

// late answers each transmission when d has passed.
func late(d time.Duration) node {
	return responder(func(b *bus, request []byte) {
		b.deliverAfter(d, echo(request).Append(nil))
	})
}

// times answers each transmission n times at once.
func times(n int) node {
	return responder(func(b *bus, request []byte) {
		answer := echo(request).Append(nil)
		for range n {
			b.deliver(answer)
		}
	})
}

// spoil answers with the right answer, changed by wrong.
func spoil(wrong func(*ipmb.Frame)) node {
	return responder(func(b *bus, request []byte) {
		answer := echo(request)
		wrong(&answer)
		b.deliver(answer.Append(nil))
	})
}

// corrupt answers with a bit of one byte turned.
func corrupt(i int) node {
	return responder(func(b *bus, request []byte) {
		answer := echo(request).Append(nil)
		answer[i%len(answer)] ^= 0x10
		b.deliver(answer)
	})
}

// blocks holds each write for d, then does as next.
func blocks(d time.Duration, next node) node {
	return func(b *bus, frame []byte) error {
		time.Sleep(d)
		return next(b, frame)
	}
}

// both does as each of the nodes; the last says how the write ends.
func both(nodes ...node) node {
	return func(b *bus, frame []byte) (err error) {
		for _, n := range nodes {
			err = n(b, frame)
		}
		return err
	}
}

// inTurn does as the first node with the first transmission, as the second
// with the second, and as the last with all further ones.
func inTurn(nodes ...node) node {
	var mu sync.Mutex
	next := 0
	return func(b *bus, frame []byte) error {
		mu.Lock()
		n := nodes[next]
		if next < len(nodes)-1 {
			next++
		}
		mu.Unlock()
		return n(b, frame)
	}
}

// keeper takes requests and answers them when the test says so.
type keeper struct {
	mu   sync.Mutex
	kept [][]byte
}

func (k *keeper) take(_ *bus, frame []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, frame)
	return nil
}

// answer answers the i-th frame taken.
func (k *keeper) answer(b *bus, i int) {
	k.mu.Lock()
	frame := k.kept[i]
	k.mu.Unlock()
	b.deliver(echo(frame).Append(nil))
}

// answerTo answers the request of a call, which it has taken.
func (k *keeper) answerTo(b *bus, f *flight) {
	f.t.Helper()
	k.mu.Lock()
	i := slices.IndexFunc(k.kept, func(frame []byte) bool {
		return bytes.Equal(echo(frame).Data, f.request.Data)
	})
	k.mu.Unlock()
	if i < 0 {
		f.t.Fatal("the call was not sent")
	}
	k.answer(b, i)
}

// generalCall hands a general call to the node it names, and takes everything
// else that is sent to address 00h (IPMI v2.0, section 20.9).
func generalCall(b *bus, frame []byte) error {
	if _, err := ipmb.Decode(frame); err == nil {
		return nil
	}
	named := frame[1:]
	if _, err := ipmb.Decode(named); err != nil {
		b.t.Errorf("neither a broadcast nor a general call: % X", frame)
		return nil
	}
	return b.nodeAt(ipmi.Address(named[0]))(b, named)
}

// echo is the answer to an encoded request, with the request's data.
func echo(frame []byte) ipmb.Frame {
	request, err := ipmb.Decode(frame)
	if err != nil {
		panic(err)
	}
	return request.Response(ipmi.CodeOK, request.Data)
}
