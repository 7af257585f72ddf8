package chardev

import (
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The values are those that a C compiler gives the headers of the drivers:
// EN_IGNORE_NACK of ipmb_device.h and IPMI_BMC_IOCTL_FORCE_ABORT of
// include/uapi/linux/ipmi_bmc.h.
func TestRequestsOfEachArchitecture(t *testing.T) {
	const argumentless = 0x20000000
	bits := map[string]uintptr{
		"386":      0,
		"amd64":    0,
		"arm":      0,
		"arm64":    0,
		"loong64":  0,
		"riscv64":  0,
		"s390x":    0,
		"mips":     argumentless,
		"mipsle":   argumentless,
		"mips64":   argumentless,
		"mips64le": argumentless,
		"ppc64":    argumentless,
		"ppc64le":  argumentless,
	}
	if _, known := bits[runtime.GOARCH]; !known {
		t.Errorf("no values for %s", runtime.GOARCH)
	}
	for goarch, bits := range bits {
		if got, want := request(goarch, none, 217, 1, 0), 0xD901|bits; got != want {
			t.Errorf("%s, EN_IGNORE_NACK: got %#x, want %#x", goarch, got, want)
		}
		if got, want := request(goarch, none, 0xB1, 2, 0), 0xB102|bits; got != want {
			t.Errorf("%s, IPMI_BMC_IOCTL_FORCE_ABORT: got %#x, want %#x", goarch, got, want)
		}
	}
}

// The values come from IPMICTL_SEND_COMMAND and IPMICTL_RECEIVE_MSG of
// include/uapi/linux/ipmi.h with 64 bits.
func TestRequestsWithArgumentsOfEachArchitecture(t *testing.T) {
	for goarch, want := range map[string][2]uintptr{
		"amd64":   {0x8028690D, 0xC030690C},
		"arm64":   {0x8028690D, 0xC030690C},
		"mips64":  {0x4028690D, 0xC030690C},
		"ppc64le": {0x4028690D, 0xC030690C},
	} {
		got := [2]uintptr{request(goarch, read, 'i', 13, 40), request(goarch, readWrite, 'i', 12, 48)}
		if got != want {
			t.Errorf("%s: got %#x, want %#x", goarch, got, want)
		}
	}
}

// BLKRRPART is _IO(0x12, 95); package unix takes its value from the kernel's headers.
func TestRequestsAsThisMachinesHeadersHaveThem(t *testing.T) {
	if got := Request(0x12, 95); got != unix.BLKRRPART {
		t.Fatalf("got %#x, want %#x", got, unix.BLKRRPART)
	}
	if got := ReadRequest(0x12, 114, unsafe.Sizeof(uintptr(0))); got != unix.BLKGETSIZE64 {
		t.Fatalf("got %#x, want %#x", got, uint32(unix.BLKGETSIZE64))
	}
	if got := ReadWriteRequest(0x94, 54, 24); got != unix.FIDEDUPERANGE {
		t.Fatalf("got %#x, want %#x", got, uint32(unix.FIDEDUPERANGE))
	}
}

func TestIoctlOfAnotherDriver(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Ioctl(int(null.Fd()), Request(217, 1)); err != unix.ENOTTY {
		t.Errorf("got %v, want ENOTTY", err)
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
		if err := ioctlResult(c.result, c.errno); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}
