package i2c

import (
	"io"
	"math/bits"
	"os"
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The values are those that a C compiler gives ipmb_device.h.
func TestRequestsOfEachArchitecture(t *testing.T) {
	const argumentless = 0x2000D900
	first := map[string]uintptr{
		"386":      0xD900,
		"amd64":    0xD900,
		"arm":      0xD900,
		"arm64":    0xD900,
		"loong64":  0xD900,
		"riscv64":  0xD900,
		"s390x":    0xD900,
		"mips":     argumentless,
		"mipsle":   argumentless,
		"mips64":   argumentless,
		"mips64le": argumentless,
		"ppc64":    argumentless,
		"ppc64le":  argumentless,
	}
	if _, known := first[runtime.GOARCH]; !known {
		t.Errorf("no values for %s", runtime.GOARCH)
	}
	for goarch, base := range first {
		for number, name := range map[uint8]string{
			ipmbDeviceIgnoreNACK:     "EN_IGNORE_NACK",
			ipmbDeviceRespectNACK:    "DIS_IGNORE_NACK",
			ipmbDeviceVerifyChecksum: "ENABLE_CHECKSUM",
			ipmbDeviceTrustChecksum:  "DISABLE_CHECKSUM",
		} {
			if got, want := ioNone(goarch, ipmbDeviceGroup, number), base+uintptr(number); got != want {
				t.Errorf("%s, %s: got %#x, want %#x", goarch, name, got, want)
			}
		}
	}
	if ipmbDeviceIgnoreNACK != 1 || ipmbDeviceTrustChecksum != 4 {
		t.Error("numbers of the requests")
	}
}

// BLKRRPART is _IO(0x12, 95); package unix has its value from the kernel's
// headers.
func TestRequestsAsThisMachinesHeadersHaveThem(t *testing.T) {
	if got := ioNone(runtime.GOARCH, 0x12, 95); got != unix.BLKRRPART {
		t.Fatalf("got %#x, want %#x", got, unix.BLKRRPART)
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
	if err := ioctlNone(int(null.Fd()), ioNone(runtime.GOARCH, ipmbDeviceGroup, 1)); err != unix.ENOTTY {
		t.Errorf("unknown request: got %v, want ENOTTY", err)
	}
	if err := writeI2C(int(null.Fd()), 0x10, []byte{1, 2}); err != unix.ENOTTY {
		t.Errorf("no adapter: got %v, want ENOTTY", err)
	}
	if err := writeI2C(int(null.Fd()), 0x10, nil); err != unix.ENOTTY {
		t.Errorf("nothing to write: got %v, want ENOTTY", err)
	}
}

func TestIoctlResults(t *testing.T) {
	for _, c := range []struct {
		name   string
		result uintptr
		errno  unix.Errno
		want   error
	}{
		{"success", 0, 0, nil},
		{"positive error number", uintptr(unix.EOPNOTSUPP), 0, unix.EOPNOTSUPP},
		{"error", ^uintptr(0), unix.ENOTTY, unix.ENOTTY},
	} {
		if err := noneResult(c.result, c.errno); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
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
