package main

import (
	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/test/hostd"
)

// runResponder is a node behind each of the SOCK_SEQPACKET sockets at paths:
// one packet is one frame. It answers every request as if it were Get Device
// ID, at once and one after the other.
func runResponder(paths []string) error {
	failed := make(chan error)
	for _, path := range paths {
		listener, err := listen(path)
		if err != nil {
			return err
		}
		go func() { failed <- acceptMasters(listener) }()
	}
	sayReady()
	return <-failed
}

func acceptMasters(listener int) error {
	for {
		fd, err := accept(listener)
		if err != nil {
			return err
		}
		go respond(fd)
	}
}

// respond serves a connection until its other end has gone.
func respond(fd int) {
	defer unix.Close(fd)
	in, out := make([]byte, 512), make([]byte, 0, 512)
	for {
		n, err := read(fd, in)
		if err != nil || n == 0 {
			return
		}
		request, err := ipmb.Decode(in[:n])
		if err != nil || request.NetFn.IsResponse() {
			continue
		}
		out = deviceIDAnswer(request).Append(out[:0])
		if write(fd, out) != nil {
			return
		}
	}
}

// deviceID is what the responder and hostd both answer.
var deviceID = []byte(hostd.DeviceID)

func deviceIDAnswer(request ipmb.Frame) ipmb.Frame {
	return ipmb.Frame{
		Destination:    request.Source,
		NetFn:          request.NetFn.Response(),
		DestinationLUN: request.SourceLUN,
		Source:         request.Destination,
		Sequence:       request.Sequence,
		SourceLUN:      request.DestinationLUN,
		Command:        request.Command,
		Code:           ipmi.CodeOK,
		Data:           deviceID,
	}
}
