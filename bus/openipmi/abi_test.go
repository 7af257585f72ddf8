package openipmi

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

// TestStructures compares sizes and offsets with a C compiler's for include/uapi/linux/ipmi.h with
// 32 and with 64 bits.
func TestStructures(t *testing.T) {
	var (
		body    body
		send    sendArgument
		timed   timedSend
		receive receiveArgument
	)
	for _, c := range []struct {
		name           string
		got            uintptr
		with32, with64 uintptr
	}{
		{"sizeof ipmi_msg", unsafe.Sizeof(body), 8, 16},
		{"ipmi_msg.netfn", unsafe.Offsetof(body.netFn), 0, 0},
		{"ipmi_msg.cmd", unsafe.Offsetof(body.command), 1, 1},
		{"ipmi_msg.data_len", unsafe.Offsetof(body.length), 2, 2},
		{"ipmi_msg.data", unsafe.Offsetof(body.data), 4, 8},
		{"sizeof ipmi_req", unsafe.Sizeof(send), 20, 40},
		{"ipmi_req.addr", unsafe.Offsetof(send.address), 0, 0},
		{"ipmi_req.addr_len", unsafe.Offsetof(send.addressLength), 4, 8},
		{"ipmi_req.msgid", unsafe.Offsetof(send.id), 8, 16},
		{"ipmi_req.msg", unsafe.Offsetof(send.body), 12, 24},
		{"sizeof ipmi_req_settime", unsafe.Sizeof(timed), 28, 48},
		{"ipmi_req_settime.retries", unsafe.Offsetof(timed.retries), 20, 40},
		{"ipmi_req_settime.retry_time_ms", unsafe.Offsetof(timed.retryTime), 24, 44},
		{"sizeof ipmi_recv", unsafe.Sizeof(receive), 24, 48},
		{"ipmi_recv.recv_type", unsafe.Offsetof(receive.kind), 0, 0},
		{"ipmi_recv.addr", unsafe.Offsetof(receive.address), 4, 8},
		{"ipmi_recv.addr_len", unsafe.Offsetof(receive.addressLength), 8, 16},
		{"ipmi_recv.msgid", unsafe.Offsetof(receive.id), 12, 24},
		{"ipmi_recv.msg", unsafe.Offsetof(receive.body), 16, 32},
		{"sizeof ipmi_cmdspec_chans", unsafe.Sizeof(commandArgument{}), 12, 12},
		{"sizeof ipmi_channel_lun_address_set", unsafe.Sizeof(channelValue{}), 4, 4},
	} {
		want := c.with64
		if bits.UintSize == 32 {
			want = c.with32
		}
		if c.got != want {
			t.Errorf("%s: %d, want %d", c.name, c.got, want)
		}
	}
}

// TestRequestNumbers compares the numbers of requests with a C compiler's for the header.
func TestRequestNumbers(t *testing.T) {
	if strings.HasPrefix(runtime.GOARCH, "mips") || strings.HasPrefix(runtime.GOARCH, "ppc64") {
		t.Skip("these numbers are other ones on", runtime.GOARCH)
	}
	for _, c := range []struct {
		name           string
		got            uintptr
		with32, with64 uint32
	}{
		{"IPMICTL_RECEIVE_MSG", receiveMessage, 0xC018690C, 0xC030690C},
		{"IPMICTL_SEND_COMMAND_SETTIME", sendTimed, 0x801C6915, 0x80306915},
		{"IPMICTL_REGISTER_FOR_CMD_CHANS", registerCommand, 0x800C691C, 0x800C691C},
		{"IPMICTL_UNREGISTER_FOR_CMD_CHANS", unregisterCommand, 0x800C691D, 0x800C691D},
		{"IPMICTL_SET_GETS_EVENTS_CMD", setGetsEvents, 0x80046910, 0x80046910},
		{"IPMICTL_SET_MY_CHANNEL_ADDRESS_CMD", setAddress, 0x80046918, 0x80046918},
		{"IPMICTL_GET_MY_CHANNEL_ADDRESS_CMD", getAddress, 0x80046919, 0x80046919},
	} {
		want := uintptr(c.with64)
		if bits.UintSize == 32 {
			want = uintptr(c.with32)
		}
		if c.got != want {
			t.Errorf("%s: %#x, want %#x", c.name, c.got, want)
		}
	}
}

// TestNodes: the structures of addresses have no pointers, and are the same everywhere except for
// the order of bytes.
func TestNodes(t *testing.T) {
	for name, c := range map[string]struct {
		address node
		kind    uint32
		channel uint16
		rest    []byte // from byte 6 on
		size    int    // of the structure
	}{
		"system interface": {node{kind: systemInterface, channel: 15, lun: 3}, 0x0C, 15, []byte{3}, 8},
		"IPMB":             {node{kind: viaController, channel: 7, address: 0x82, lun: 1}, 0x01, 7, []byte{0x82, 1}, 8},
		"broadcast":        {node{kind: broadcast, address: 0x84}, 0x41, 0, []byte{0x84}, 8},
		"direct":           {node{kind: direct, address: 0x20, lun: 1, requesterLUN: 2}, 0x81, 0, []byte{0x20, 1, 2}, 12},
	} {
		t.Run(name, func(t *testing.T) {
			var want [nodeSize]byte
			binary.NativeEndian.PutUint32(want[0:], c.kind)
			binary.NativeEndian.PutUint16(want[4:], c.channel)
			copy(want[6:], c.rest)
			got := c.address.bytes()
			if !bytes.Equal(got[:], want[:]) {
				t.Errorf("% X, want % X", got, want)
			}
			back, ok := parseNode(got[:c.size])
			if diff := cmp.Diff(c.address, back, cmp.AllowUnexported(node{})); diff != "" || !ok {
				t.Errorf("%v: %s", ok, diff)
			}
			for n := range c.size - 3 {
				if a, ok := parseNode(got[:n]); ok && n < 8 {
					t.Errorf("%d bytes are %+v", n, a)
				}
			}
		})
	}
	lan := node{kind: 0x04, address: ipmi.Address(0x81)}.bytes()
	if a, ok := parseNode(lan[:]); ok {
		t.Errorf("a LAN address is %+v", a)
	}
}
