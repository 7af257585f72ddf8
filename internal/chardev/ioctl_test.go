package chardev

import (
	"os"
	"runtime"
	"testing"

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
		if got, want := request(goarch, 217, 1), 0xD901|bits; got != want {
			t.Errorf("%s, EN_IGNORE_NACK: got %#x, want %#x", goarch, got, want)
		}
		if got, want := request(goarch, 0xB1, 2), 0xB102|bits; got != want {
			t.Errorf("%s, IPMI_BMC_IOCTL_FORCE_ABORT: got %#x, want %#x", goarch, got, want)
		}
	}
}

// BLKRRPART is _IO(0x12, 95); package unix has its value from the kernel's
// headers.
func TestRequestsAsThisMachinesHeadersHaveThem(t *testing.T) {
	if got := Request(0x12, 95); got != unix.BLKRRPART {
		t.Fatalf("got %#x, want %#x", got, unix.BLKRRPART)
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
