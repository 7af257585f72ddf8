package host

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"ipmbd/ipmi"
)

// BenchmarkVM is a virtual machine's Get Device ID over a Unix socket, one outstanding:
// answered at once, and by another goroutine.
func BenchmarkVM(b *testing.B) {
	deviceID := octets("50 01 04 00 02 21 57 01 00 0B 0B")
	elsewhere := make(chan ipmi.Reply)
	defer close(elsewhere)
	go func() {
		for reply := range elsewhere {
			reply.Answer(ipmi.Response{Data: deviceID}, nil)
		}
	}()
	for name, handler := range map[string]ipmi.Handler{
		"at once":      ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{Data: deviceID}, nil }),
		"by a handler": ipmi.HandlerFunc(func(_ *ipmi.Request, reply ipmi.Reply) { elsewhere <- reply }),
	} {
		b.Run(name, func(b *testing.B) {
			listener, err := Listen(b.Context(), "unix:"+filepath.Join(b.TempDir(), "vm"))
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- NewVM(Config{Handler: handler}, nil).Run(ctx, listener) }()
			conn, err := net.Dial("unix", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { stop(); <-ended; conn.Close() }()
			greeting, answer := make([]byte, 5), make([]byte, 17)
			if _, err := io.ReadFull(conn, greeting); err != nil {
				b.Fatal(err)
			}
			request := octets("01 18 01 E6 A0")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
