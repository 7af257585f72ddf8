package systemd

import (
	"net"
	"slices"
	"testing"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// silence is the command that a controller does not answer.
const silence ipmi.Command = 0x7F

// controller is a controller at 2Ch on a simulated bus, which answers each request
// with 00h and the request's data.
type controller struct {
	requests chan ipmb.Frame // to be sent
	answers  chan ipmb.Frame // to those
	others   chan ipmb.Frame // frames to other addresses
}

func (l *lab) controller(path string) controller {
	l.t.Helper()
	listener, err := net.Listen("unixpacket", l.path(path))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { listener.Close() })
	c := controller{make(chan ipmb.Frame), make(chan ipmb.Frame, 1024), make(chan ipmb.Frame, 16)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	return c
}

// serve is on the bus until that ends.
func (c controller) serve(conn net.Conn) {
	frames := make(chan ipmb.Frame)
	go func() {
		defer close(frames)
		for buffer := make([]byte, 512); ; {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			if f, err := ipmb.Decode(buffer[:n]); err == nil {
				f.Data = slices.Clone(f.Data)
				frames <- f
			}
		}
	}()
	defer conn.Close()
	for {
		var out ipmb.Frame
		select {
		case f, ok := <-frames:
			switch {
			case !ok:
				return
			case f.Destination != 0x2C:
				c.others <- f
				continue
			case f.NetFn.IsResponse():
				c.answers <- f
				continue
			case f.Command == silence:
				continue
			}
			out = f.Response(ipmi.CodeOK, f.Data)
		case out = <-c.requests:
		}
		if _, err := conn.Write(out.Append(nil)); err != nil {
			return
		}
	}
}

// together is how many of its requests a controller has in progress.
const together = 16

// asks sends requests to the service, with next(i) as the i-th while there is one, and returns how
// often they ended in which way, as judge says. Each is answered once: a second answer is dropped.
func (c controller) asks(t testing.TB, next func(i int) (ipmb.Frame, bool), judge func(request, answer ipmb.Frame) string) map[string]int {
	t.Helper()
	ways := make(map[string]int)
	inProgress := make(map[uint8]ipmb.Frame)
	var free []uint8 // the one that has rested for longest first
	for number := range uint8(ipmb.SequenceNumbers) {
		free = append(free, number)
	}
	request, more := next(0)
	for sent := 0; more || len(inProgress) > 0; {
		var send chan<- ipmb.Frame
		if more && len(inProgress) < together {
			send = c.requests
			request.Destination, request.Source, request.Sequence = 0x20, 0x2C, free[0]
		}
		select {
		case send <- request:
			inProgress[request.Sequence] = request
			free = free[1:]
			sent++
			request, more = next(sent)
		case answer := <-c.answers:
			asked, ok := inProgress[answer.Sequence]
			if !ok || answer.NetFn != asked.NetFn.Response() || answer.Command != asked.Command {
				ways["nobody's"]++
				continue
			}
			delete(inProgress, answer.Sequence)
			free = append(free, answer.Sequence)
			ways[judge(asked, answer)]++
		case <-time.After(timeLimit):
			t.Fatalf("%d of %d requests are not answered; the others: %v", len(inProgress), sent, ways)
		}
	}
	return ways
}
