package main

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/test/hostd"
)

// responder is a node behind each of some SOCK_SEQPACKET sockets: one packet is one
// frame. It answers every request as if it were Get Device ID, at once and one after
// the other, in one thread for all.
type responder struct {
	epoll     int
	listeners map[int32]bool
	arrived   map[int32]*uint32 // requests, by connection
	in, out   []byte
}

func runResponder(paths []string) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	r := &responder{
		epoll: epoll, listeners: make(map[int32]bool), arrived: make(map[int32]*uint32), in: make([]byte, 512),
	}
	for _, path := range paths {
		listener, err := listen(path)
		if err != nil {
			return err
		}
		if err := r.watch(listener); err != nil {
			return err
		}
		r.listeners[int32(listener)] = true
	}
	sayReady()
	return r.serve()
}

func (r *responder) watch(fd int) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (r *responder) serve() error {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(r.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			if err := r.ready(event.Fd); err != nil {
				return err
			}
		}
	}
}

func (r *responder) ready(fd int32) error {
	if r.listeners[fd] {
		conn, err := accept(int(fd))
		if err != nil {
			return err
		}
		r.arrived[int32(conn)] = new(uint32)
		return r.watch(conn)
	}
	if !r.respond(int(fd), r.arrived[fd]) {
		delete(r.arrived, fd)
		return unix.Close(int(fd))
	}
	return nil
}

// respond answers what has come on a connection, until its other end has gone.
func (r *responder) respond(fd int, arrived *uint32) (goesOn bool) {
	for {
		n, _, err := unix.Recvfrom(fd, r.in, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return true
		case err != nil || n == 0:
			return false
		}
		request, err := ipmb.Decode(r.in[:n])
		if err != nil || request.NetFn.IsResponse() {
			continue
		}
		r.out = deviceIDAnswer(request, *arrived).Append(r.out[:0])
		*arrived++
		if write(fd, r.out) != nil {
			return false
		}
	}
}

// deviceID is the data of all answers. The responder and the host daemon of bench append the
// number of the request's arrival.
var deviceID = []byte(hostd.DeviceID)

func deviceIDAnswer(request ipmb.Frame, arrived uint32) ipmb.Frame {
	return request.Response(ipmi.CodeOK, numberedDeviceID(arrived))
}

func numberedDeviceID(arrived uint32) []byte {
	var b [32]byte
	return binary.LittleEndian.AppendUint32(append(b[:0], deviceID...), arrived)
}

// checkDeviceID takes the number of its arrival off the device ID.
func checkDeviceID(data []byte) (arrived uint32, err error) {
	id, arrived, ok := cutArrival(data)
	if !ok || string(id) != string(deviceID) {
		return 0, fmt.Errorf("not the device ID: % X", data)
	}
	return arrived, nil
}
