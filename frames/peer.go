package frames

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/internal/socket"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// peer is a client at the other end of a connection. One goroutine reads its requests and sends
// them to their bus. The goroutine that brings a response writes it, as far as the socket has
// room; a second goroutine of the peer waits for room and writes the rest, see writeToSlowClient.
// Writing at once saves a change of goroutine, which costs more than everything else that is done
// here.
//
// The mutex is not held while a bus is used or packets are written.
type peer struct {
	server  *Server
	process bus.Process
	client  bus.Client // the same client, as the buses know it
	conn    *net.UnixConn
	raw     syscall.RawConn

	lastUsed atomic.Uint64 // the server's count of requests at the last request of the client
	replaced atomic.Bool   // another client has got its place

	// Used by the goroutine that reads.
	buffer    []byte // one byte longer than the longest packet
	exchanges []*exchange

	mu     sync.Mutex
	work   sync.Cond   // for writeToSlowClient and awaitEnds
	free   []*exchange // that are not in use
	gone   bool
	unsent packets // to be written
	owed   int     // packets that were read and whose answer is not written
	// writing: a goroutine uses the writer. It is writeToSlowClient while slow is set.
	writing, slow bool
	writer        writer
	settled       chan struct{} // closed when nothing is owed; nil while no drain waits
}

func newPeer(s *Server, conn *net.UnixConn) (*peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	process, err := processOf(raw)
	if err != nil {
		return nil, err
	}
	p := &peer{server: s, process: process, conn: conn, raw: raw, buffer: make([]byte, maxRequest+1)}
	p.client.Identify(process)
	p.work.L = &p.mu
	p.writer.init(raw)
	return p, nil
}

// processOf returns the process that has connected.
func processOf(raw syscall.RawConn) (bus.Process, error) {
	var ucred *unix.Ucred
	var err error
	control := raw.Control(func(fd uintptr) {
		ucred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(control, err); err != nil {
		return bus.Process{}, err
	}
	return bus.Process{PID: ucred.Pid, UID: ucred.Uid}, nil
}

// serve serves the client until one side closes the connection. It returns ErrUnread or
// ErrReplaced if the server has closed it for that.
func (p *peer) serve() error {
	var writer sync.WaitGroup
	writer.Go(p.writeToSlowClient)
	err := p.readRequests()
	p.hangUp()
	for _, x := range p.exchanges {
		x.call.Cancel()
	}
	writer.Wait()
	p.awaitEnds()
	if p.replaced.Load() {
		err = ErrReplaced
	}
	return err
}

// awaitEnds waits until all requests have ended, after hangUp.
func (p *peer) awaitEnds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.inProgress() > 0 {
		p.work.Wait()
	}
}

// hangUp closes the connection and makes both goroutines end. It waits until the reader has sent
// the request that it has read.
func (p *peer) hangUp() {
	p.mu.Lock()
	p.gone = true
	p.settle()
	p.mu.Unlock()
	p.work.Broadcast()
	p.conn.Close()
}

// readRequests reads packets of the client until there are no more, or until the error of
// handlePacket.
func (p *peer) readRequests() (err error) {
	_ = p.raw.Read(func(fd uintptr) (done bool) {
		for {
			n, failed := socket.ReadNow(fd, p.buffer)
			switch {
			case failed == unix.EAGAIN:
				return false
			case failed != nil, n == 0 && socket.PeerGone(int(fd)):
				return true
			}
			if err = p.handlePacket(p.buffer[:n]); err != nil {
				return true
			}
		}
	}) // It fails if the connection was closed.
	return err
}

// handlePacket sends the request in a packet to its bus, or answers with a status. An error means
// that the client is disconnected.
func (p *peer) handlePacket(packet []byte) error {
	index, frame, status := parseRequest(packet)
	var to *bus.Bus
	if status == ipmb.StatusOK {
		if to = p.server.config.Bus(index); to == nil {
			status = ipmb.StatusInvalid
		}
	}
	x, status, err := p.admitRequest(status)
	switch {
	case err != nil:
		return err
	case x != nil:
		x.send(to, packet, frame)
	default:
		p.mu.Lock()
		p.unsent.addStatus(index, status, headOf(packet))
		first := p.startWriting()
		p.mu.Unlock()
		if first {
			p.writeUnsent()
		}
	}
	return nil
}

// admitRequest counts a packet and returns an exchange for its request. If it returns no exchange,
// the status says why. It returns ErrUnread for a client that does not read.
func (p *peer) admitRequest(status ipmb.Status) (*exchange, ipmb.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone: // hangUp waits for the reader.
		return nil, 0, net.ErrClosed
	case p.owed-p.inProgress() >= maxUnread:
		return nil, 0, ErrUnread
	}
	p.owed++
	var x *exchange
	if status == ipmb.StatusOK {
		x, status = p.newExchange()
	}
	p.lastUsed.Store(p.server.countRequest(status))
	return x, status, nil
}

// inProgress is how many requests have not ended.
func (p *peer) inProgress() int { return len(p.exchanges) - len(p.free) }

// newExchange returns an exchange that is not in use, or a status if too many are.
func (p *peer) newExchange() (*exchange, ipmb.Status) {
	last := len(p.free) - 1
	switch {
	case p.server.stopping.Load():
		return nil, ipmb.StatusFailed
	case int64(p.inProgress()) >= p.server.maxCalls.Load():
		return nil, ipmb.StatusBusy
	case last < 0:
		x := &exchange{peer: p}
		x.call = bus.NewCall(&p.client, x.hasEnded)
		p.exchanges = append(p.exchanges, x)
		return x, ipmb.StatusOK
	}
	x := p.free[last]
	p.free = p.free[:last]
	return x, ipmb.StatusOK
}

// exchange is a request of a client that has not ended. Later requests use its memory again.
type exchange struct {
	peer    *peer
	call    *bus.Call
	index   uint8
	head    [headBytes]byte
	frame   ipmb.Frame // as the client sent it, without its data
	request ipmb.Request
}

// send sends a client's frame, which is in a packet, to a bus.
func (x *exchange) send(to *bus.Bus, packet []byte, frame ipmb.Frame) {
	x.index, x.frame = packet[0], frame
	x.frame.Data = nil
	copy(x.head[:], packet[requestHead:])
	x.request = busRequest(frame)
	if err := to.Send(x.call, &x.request); err != nil {
		x.hasEnded(ipmi.Response{}, err)
	}
}

// hasEnded answers the client when the request has ended.
func (x *exchange) hasEnded(r ipmi.Response, err error) {
	p := x.peer
	p.mu.Lock()
	if err != nil {
		p.unsent.addStatus(x.index, ipmb.StatusOf(err), x.head[:])
	} else {
		p.unsent.addResponse(x.index, x.frame.Response(r.Code, r.Data))
	}
	p.free = append(p.free, x)
	if p.gone {
		p.work.Broadcast()
	}
	first := p.startWriting()
	p.mu.Unlock()
	if first {
		p.writeUnsent()
	}
}
