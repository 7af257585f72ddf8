package i2c

import (
	"io"
	"math/bits"
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// The numbers come from ipmb_device.h.
func TestNumbersOfIPMBDevice(t *testing.T) {
	if ipmbDeviceGroup != 217 || ipmbDeviceIgnoreNACK != 1 || ipmbDeviceTrustChecksum != 4 {
		t.Error("numbers of the requests")
	}
}

func TestLayoutOfI2CStructs(t *testing.T) {
	type layout struct {
		size    uintptr
		offsets []uintptr
	}
	want := map[int][2]layout{
		32: {{12, []uintptr{0, 2, 4, 8}}, {8, []uintptr{0, 4}}},
		64: {{16, []uintptr{0, 2, 4, 8}}, {16, []uintptr{0, 8}}},
	}[bits.UintSize]
	for i, typ := range []reflect.Type{reflect.TypeFor[i2cMsg](), reflect.TypeFor[i2cRDWRData]()} {
		got := layout{size: typ.Size()}
		for n := range typ.NumField() {
			got.offsets = append(got.offsets, typ.Field(n).Offset)
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%v: got %v, want %v", typ, got, want[i])
		}
	}
}

func TestIoctlErrors(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := writeI2C(int(null.Fd()), 0x10, []byte{1, 2}); err != unix.ENOTTY {
		t.Errorf("no adapter: got %v, want ENOTTY", err)
	}
	if err := writeI2C(int(null.Fd()), 0x10, nil); err != unix.ENOTTY {
		t.Errorf("nothing to write: got %v, want ENOTTY", err)
	}
}

func TestIoctlResults(t *testing.T) {
	for _, c := range []struct {
		name  string
		done  uintptr
		errno unix.Errno
		want  error
	}{
		{"one transfer of one", 1, 0, nil},
		{"none", 0, 0, io.ErrShortWrite},
		{"error", ^uintptr(0), unix.ENXIO, unix.ENXIO},
	} {
		if err := writeResult(c.done, c.errno); err != c.want {
			t.Errorf("I2C_RDWR, %s: got %v, want %v", c.name, err, c.want)
		}
	}
}
