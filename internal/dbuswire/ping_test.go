package dbuswire

import (
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
)

func TestPingOfAStream(t *testing.T) {
	for name, c := range map[string]struct {
		hangs, over bool // whether the reader hangs, and the connection is over then
	}{
		"comes back from one that waits":       {false, false},
		"hangs with the one who reads":         {true, false},
		"ends, though the one who reads hangs": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				free := make(chan struct{})
				conn := &Conn{}
				conn.out = newOutbox(nil, &conn.replies)
				s := newStream(conn, ours, func(*Conn, *Message) bool { <-free; return true })
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = s.Read(make([]byte, 1))
				}()
				if c.hangs {
					_, _ = theirs.Write(encodeCall(t, binary.LittleEndian, ":1.5", byte(0), byte(6), byte(0), byte(1), []byte{}))
				}
				synctest.Wait()
				over, back := make(chan struct{}), make(chan struct{})
				if c.over {
					close(over)
				}
				go func() {
					defer close(back)
					s.ping(over)
				}()
				synctest.Wait()
				select {
				case <-back:
					if c.hangs && !c.over {
						t.Error("it came back")
					}
				default:
					if !c.hangs || c.over {
						t.Error("it hangs")
					}
				}
				close(free)
				<-back
				theirs.Close()
				<-ended
				conn.out.close()
				<-conn.out.ended
			})
		})
	}
}
