package e2e

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"ipmbd/internal/bustest"
)

const (
	getSystemInterface = 0x57
	getBTInterface     = 0x36
)

// TestInterfacesTellTheirLimits asks each kind of interface that needs no driver, with the built-in
// BMC behind it and with the host daemon, which does not run. A policy can deny the commands.
func TestInterfacesTellTheirLimits(t *testing.T) {
	for _, handler := range []string{"bmc", "host"} {
		t.Run(handler, func(t *testing.T) {
			t.Parallel()
			bus := bustest.Start(t)
			kcs, path := vm(t, "host0", object{"handler": handler})
			block, btHost := bt(t, object{"handler": handler, "devIndex": 1})
			smbus, line := bt(t, object{"type": "ssif", "name": "ipmi_ssif", "handler": handler, "devIndex": 2, "answer-ms": 14000})
			config := hosts([]object{kcs, block, smbus})
			config["policy"] = []object{{"channels": []string{"host0"}, "deny": []string{"app get-bt-interface-capabilities"}}}
			start(t, bus.Address, config)
			c := connect(t, bus.Address)
			c.hostState(t, "ipmi_bt_host", "Up")
			c.hostState(t, "ipmi_ssif", "Up")

			m := boot(t, "unix", path, noAttention)
			m.asks(6, getSystemInterface, "01", "00 00 00 FF")
			m.asks(6, getSystemInterface, "00", "CC")
			m.asks(6, getBTInterface, "", "D4")

			btHost.sends(6, getBTInterface)
			btHost.hears(6, getBTInterface, "00 01 FF FF 05 01")
			btHost.sends(6, getSystemInterface, 0)
			btHost.hears(6, getSystemInterface, "CC")

			ssif := func(request, want string) {
				t.Helper()
				payload := unhex(t, request)
				if _, err := line.line.Write(append(binary.NativeEndian.AppendUint32(nil, uint32(len(payload))), payload...)); err != nil {
					t.Fatal(err)
				}
				if err := line.line.SetReadDeadline(time.Now().Add(timeLimit)); err != nil {
					t.Fatal(err)
				}
				response := unhex(t, want)
				whole := append(binary.NativeEndian.AppendUint32(nil, uint32(len(response))), response...)
				got := make([]byte, 512)
				if n, err := line.line.Read(got); err != nil || !bytes.Equal(got[:n], whole) {
					t.Errorf("heard % X, %v; want % X", got[:n], err, whole)
				}
			}
			ssif("18 57 00", "1C 57 00 00 80 FE FE")
			ssif("18 57 01", "1C 57 CC")
			ssif("18 36", "1C 36 C1")
		})
	}
}
