package service

import (
	"cmp"
	"context"
	"net"

	"go.uber.org/zap"

	"ipmbd/frames"
	unixsocket "ipmbd/internal/socket"
	"ipmbd/service/config"
)

// seqpacket is what package net calls SOCK_SEQPACKET.
const seqpacket = "unixpacket"

// newFrames makes what serves the frame socket.
func (s *service) newFrames() *frames.Server {
	return frames.NewServer(frames.Config{
		Bus:      s.buses.Find,
		MaxCalls: s.config.MaxCallsPerSender,
		HungUp:   s.hungUpOn,
	})
}

// hungUpOn logs that a client of the frame socket was hung up on.
func (s *service) hungUpOn(who frames.Peer, why error) {
	s.log.Warn("a client is hung up on", zap.String("interface", frameInterface),
		zap.Int32("pid", who.PID), zap.Uint32("uid", who.UID), zap.Error(why))
}

// frameInterface is the frame socket in the log, where clients that come again and
// again are one line in a second.
const frameInterface = "frame-socket"

// frameAddress is that of the frame socket among those that systemd passes.
func frameAddress(c config.Config) string {
	return seqpacket + ":" + cmp.Or(c.FrameSocket, config.DefaultFrameSocket)
}

// listenFrames opens the frame socket: systemd's, or the one that the
// configuration names. Without both there is none.
func (s *service) listenFrames(ctx context.Context) error {
	var listener net.Listener
	var err error
	switch address := frameAddress(s.config); {
	case s.sockets.has(address):
		listener, err = s.sockets.listen(ctx, address)
	case s.config.FrameSocket != "":
		listener, err = unixsocket.Listen(ctx, seqpacket, s.config.FrameSocket)
	default:
		return nil
	}
	if err != nil {
		return explainPath("frame-socket", err)
	}
	s.frameListener = listener.(*net.UnixListener)
	return nil
}

// runFrames serves the frame socket, if there is one, until ctx ends.
func (s *service) runFrames(ctx context.Context) {
	if s.frameListener != nil {
		s.frames.Run(ctx, s.frameListener)
	}
}

// closeFrames closes the frame socket of a start that did not end well.
func (s *service) closeFrames() {
	if s.frameListener != nil {
		s.frameListener.Close()
	}
}
