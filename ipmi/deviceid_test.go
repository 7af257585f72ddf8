package ipmi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeDeviceID(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want DeviceID
		text string
	}{
		{
			name: "short form of a management engine",
			data: []byte{0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B},
			want: DeviceID{
				ID: 0x50, Revision: 1, FirmwareMajor: 4, IPMIMajor: 2,
				Support:      SupportsSensors | SupportsEventGenerator,
				Manufacturer: 343, Product: 0x0B0B,
			},
			text: "device 50h revision 1, firmware 4.00, IPMI 2.0, manufacturer 343, product 0B0Bh, sensors, event generator",
		},
		{
			name: "long form with every bit set",
			data: []byte{0x20, 0xFF, 0xFF, 0x50, 0x51, 0xFF, 0x01, 0x02, 0xF3, 0x34, 0x12, 0xDE, 0xAD, 0xBE, 0xEF},
			want: DeviceID{
				ID: 0x20, Revision: 15, ProvidesSDRs: true, Updating: true,
				FirmwareMajor: 127, FirmwareMinor: 0x50, IPMIMajor: 1, IPMIMinor: 5,
				Support: 0xFF, Manufacturer: 0xF30201, Product: 0x1234,
				Auxiliary: [4]byte{0xDE, 0xAD, 0xBE, 0xEF}, HasAuxiliary: true,
			},
			text: "device 20h revision 15, firmware 127.50 (DEADBEEF) updating, IPMI 1.5, manufacturer 15925761, product 1234h, device SDRs, " +
				"sensors, SDR repository, SEL, FRU inventory, event receiver, event generator, bridge, chassis",
		},
		{
			name: "no manufacturer",
			data: []byte{0x01, 0x02, 0x03, 0x04, 0x01, 0x00},
			want: DeviceID{ID: 1, Revision: 2, FirmwareMajor: 3, FirmwareMinor: 4, IPMIMajor: 1},
			text: "device 01h revision 2, firmware 3.04, IPMI 1.0, manufacturer 0, product 0000h",
		},
		{
			name: "three bytes of four auxiliary ones",
			data: []byte{0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x01, 0x00, 0x00, 0x02, 0x00, 0xAA, 0xBB, 0xCC},
			want: DeviceID{ID: 1, IPMIMajor: 2, Manufacturer: 1, Product: 2},
			text: "device 01h revision 0, firmware 0.00, IPMI 2.0, manufacturer 1, product 0002h",
		},
		{
			name: "bytes after the auxiliary ones",
			data: []byte{0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6},
			want: DeviceID{IPMIMajor: 2, Auxiliary: [4]byte{1, 2, 3, 4}, HasAuxiliary: true},
			text: "device 00h revision 0, firmware 0.00 (01020304), IPMI 2.0, manufacturer 0, product 0000h",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeDeviceID(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if got.String() != tt.text {
				t.Errorf("got  %q\nwant %q", got, tt.text)
			}
		})
	}
}

func TestDecodeDeviceIDTooShort(t *testing.T) {
	for n := range basicDeviceID {
		if _, err := DecodeDeviceID(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are no device ID", n)
		}
	}
}

func TestDeviceSupportString(t *testing.T) {
	if got := DeviceSupport(0).String(); got != "none" {
		t.Errorf("no bits: %q", got)
	}
	if got := (SupportsSEL | SupportsFRU).String(); got != "SEL, FRU inventory" {
		t.Errorf("two bits: %q", got)
	}
}

func FuzzDeviceID(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B})
	f.Add([]byte{0x20, 0xFF, 0xFF, 0x50, 0x51, 0xFF, 0x01, 0x02, 0xF3, 0x34, 0x12, 0xDE, 0xAD, 0xBE, 0xEF})
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := DecodeDeviceID(data)
		if (err != nil) != (len(data) < basicDeviceID) {
			t.Fatalf("%d bytes: error %v", len(data), err)
		}
		if d.HasAuxiliary != (len(data) >= longDeviceID) {
			t.Errorf("%d bytes: auxiliary %t", len(data), d.HasAuxiliary)
		}
		if s := d.String(); strings.ContainsAny(s, "%!\n") {
			t.Errorf("badly formatted: %q", s)
		}
	})
}
