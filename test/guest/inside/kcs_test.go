package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/host"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

// kcsDevice is the channel of kcs-loop.
const kcsDevice = "/dev/ipmi-kcs11"

// Registers of KCS at the host's end (IPMI 2.0, section 9.5), as offsets in
// /dev/kcs-host.
const (
	kcsData   = 0
	kcsStatus = 1 // a write is a command
)

// Bits of the status register and states in its bits 7 and 6 (IPMI 2.0, tables
// 9-1 and 9-2).
const (
	kcsOBF       = 1 << 0
	kcsIBF       = 1 << 1
	kcsAttention = 1 << 2

	kcsIdle  = 0
	kcsRead  = 1
	kcsWrite = 2
	kcsError = 3
)

// Control codes (IPMI 2.0, table 9-3).
const (
	kcsWriteStart = 0x61
	kcsWriteEnd   = 0x62
	kcsReadByte   = 0x68
)

// kcsHost is the host's end of KCS, as section 9.15 of IPMI 2.0 has it.
type kcsHost struct {
	t    *testing.T
	file *os.File
}

func openKCSHost(t *testing.T) *kcsHost {
	t.Helper()
	file, err := os.OpenFile("/dev/kcs-host", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &kcsHost{t, file}
}

func (h *kcsHost) get(register int64) byte {
	h.t.Helper()
	var b [1]byte
	if _, err := h.file.ReadAt(b[:], register); err != nil {
		h.t.Fatal(err)
	}
	return b[0]
}

// put writes a register, and waits until the BMC has taken the byte.
func (h *kcsHost) put(register int64, value byte) {
	h.t.Helper()
	if _, err := h.file.WriteAt([]byte{value}, register); err != nil {
		h.t.Fatal(err)
	}
	h.wait("the BMC does not take a byte", func(status byte) bool { return status&kcsIBF == 0 })
}

func (h *kcsHost) wait(lacks string, is func(status byte) bool) {
	h.t.Helper()
	eventually(h.t, func() string {
		if status := h.get(kcsStatus); !is(status) {
			return fmt.Sprintf("%s: status %02Xh", lacks, status)
		}
		return ""
	})
}

// sends is the write phase of a request.
func (h *kcsHost) sends(request ...byte) {
	h.t.Helper()
	last := len(request) - 1
	h.phase(kcsStatus, kcsWriteStart)
	for _, b := range request[:last] {
		h.phase(kcsData, b)
	}
	h.phase(kcsStatus, kcsWriteEnd)
	h.put(kcsData, request[last])
}

// phase writes a byte of the write phase.
func (h *kcsHost) phase(register int64, value byte) {
	h.t.Helper()
	h.put(register, value)
	if state := h.get(kcsStatus) >> 6; state != kcsWrite {
		h.t.Fatalf("state %d, want %d", state, kcsWrite)
	}
	h.get(kcsData)
}

// receives is the read phase.
func (h *kcsHost) receives() (response []byte) {
	h.t.Helper()
	for {
		h.wait("the BMC has nothing to read", func(status byte) bool { return status&kcsOBF != 0 })
		switch state, b := h.get(kcsStatus)>>6, h.get(kcsData); state {
		case kcsIdle:
			return response
		case kcsRead:
			response = append(response, b)
			h.put(kcsData, kcsReadByte)
		default:
			h.t.Fatalf("state %d after % X", state, response)
		}
	}
}

func (h *kcsHost) expect(want ...byte) {
	h.t.Helper()
	if got := h.receives(); !bytes.Equal(got, want) {
		h.t.Errorf("the host reads % X, want % X", got, want)
	}
}

// slowKCS is a command that is answered when the test says so.
const slowKCS ipmi.Command = 0x51

// servedKCS is a loop on the kernel's device, and the requests that it gets.
type servedKCS struct {
	*kcsHost
	port    *host.KCSPort
	loop    *host.Loop
	began   chan struct{} // the slow command
	release chan struct{}
	raised  chan ipmi.Attention // the last one is shown
}

// serveKCS serves the device with a handler that answers with the data.
func serveKCS(t *testing.T) *servedKCS {
	t.Helper()
	loadKCS(t)
	port, err := host.OpenKCS(kcsDevice)
	if err != nil {
		t.Fatal(err)
	}
	s := &servedKCS{kcsHost: openKCSHost(t), port: port, began: make(chan struct{}, 1), release: make(chan struct{}, 1),
		raised: make(chan ipmi.Attention, 1)}
	s.raised <- ipmi.Attention{}
	s.loop = host.NewLoop(host.Config{Interface: "ipmi-kcs11", Channel: 15, Handler: ipmi.HandlerFunc(s.answer), Attention: s.attention})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.loop.Run(ctx, port) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	})
	return s
}

func (s *servedKCS) answer(req *ipmi.Request, reply ipmi.Reply) {
	answer := func() { reply.Answer(ipmi.Response{Data: req.Data}, nil) }
	if req.Command != slowKCS {
		answer()
		return
	}
	s.began <- struct{}{}
	go func() {
		<-s.release
		answer()
	}()
}

func (s *servedKCS) attention() ipmi.Attention {
	a := <-s.raised
	s.raised <- a
	return a
}

func (s *servedKCS) shows(raised bool) {
	<-s.raised
	s.raised <- ipmi.Attention{Raised: raised}
	s.loop.AttentionChanged()
}

func TestKCSOfTheKernel(t *testing.T) {
	s := serveKCS(t)
	for _, length := range []int{0, 1, 36, 255, 900} {
		data := bytes.Repeat([]byte{byte(length)}, length)
		s.sends(append([]byte{0x18, 0x01}, data...)...)
		s.expect(append([]byte{0x1C, 0x01, 0x00}, data...)...)
	}
}

func TestKCSAttentionOfTheKernel(t *testing.T) {
	s := serveKCS(t)
	for _, raised := range []bool{true, false, true, false} {
		s.shows(raised)
		s.wait("the attention is not shown", func(status byte) bool { return status&kcsAttention != 0 == raised })
	}
}

func TestKCSHostOfTheKernelThatStartsAnew(t *testing.T) {
	s := serveKCS(t)
	s.sends(0x18, byte(slowKCS), 0xAA)
	<-s.began
	s.sends(0x18, byte(slowKCS), 0xBB)
	s.release <- struct{}{}
	<-s.began
	s.release <- struct{}{}
	s.expect(0x1C, byte(slowKCS), 0x00, 0xBB)
	s.sends(0x18, 0x01)
	s.expect(0x1C, 0x01, 0x00)
}

func TestKCSAbortOfTheKernel(t *testing.T) {
	s := serveKCS(t)
	abort := func(host.Port) error { return s.port.ForceAbort() }
	if err := s.loop.Do(t.Context(), abort); err != nil {
		t.Fatal(err)
	}
	if state := s.get(kcsStatus) >> 6; state != kcsError {
		t.Errorf("state %d, want %d", state, kcsError)
	}
	s.sends(0x18, 0x01)
	s.expect(0x1C, 0x01, 0x00)
	// A response gets no answer: the host would wait.
	s.sends(0x1C, 0x01, 0x00)
	s.wait("the host is shown no error", func(status byte) bool { return status>>6 == kcsError })
	s.sends(0x18, 0x01)
	s.expect(0x1C, 0x01, 0x00)
}

func TestKCSHasOneServer(t *testing.T) {
	serveKCS(t)
	if _, err := host.OpenKCS(kcsDevice); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second one: %v, want EBUSY", err)
	}
}

// loadKCS loads the kernel's drivers and the channel that stands for a host.
func loadKCS(t *testing.T) {
	t.Helper()
	for _, module := range []string{"kcs_bmc", "kcs_bmc_cdev_ipmi", "kcs-loop"} {
		load(t, module, "")
	}
}

// As kcsbridge does: the host IPMI daemon answers, and others raise the attention.
func TestDaemonInPlaceOfKCSBridge(t *testing.T) {
	loadKCS(t)
	d := launchConfig(t, map[string]any{"hosts": []map[string]any{{"type": "kcs", "path": kcsDevice}}})
	h := openKCSHost(t)
	h.sends(0x18, 0x01)
	h.expect(append([]byte{0x1C, 0x01, 0x00}, deviceID...)...)
	h.sends(0x18, 0x77)
	h.expect(0x1C, 0x77, 0xC1)

	conn, err := dbuswire.Dial(t.Context(), dbuswire.Config{Address: d.address})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for member, raised := range map[string]bool{"setAttention": true, "clearAttention": false} {
		_, err := conn.Call(t.Context(), dbuswire.Method{
			Destination: "xyz.openbmc_project.Ipmi.Channel.ipmi_kcs11",
			Path:        "/xyz/openbmc_project/Ipmi/Channel/ipmi_kcs11",
			Interface:   "xyz.openbmc_project.Ipmi.Channel.SMS",
			Member:      member,
		})
		if err != nil {
			t.Errorf("%s: %v", member, err)
		}
		if shown := h.get(kcsStatus)&kcsAttention != 0; shown != raised {
			t.Errorf("%s: attention %v", member, shown)
		}
	}
	h.sends(0x18, 0x01)
	h.expect(append([]byte{0x1C, 0x01, 0x00}, deviceID...)...)
}
