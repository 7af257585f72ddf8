package inside

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// resultPort is the serial port that the outside reads. The console has the
// kernel's messages in it.
const resultPort = "/dev/ttyS0"

// TestMain is the guest's init.
func TestMain(m *testing.M) {
	if !inGuest() {
		flag.Parse()
		if err := flag.Set("test.run", "^TestOutsideOfTheGuest$"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	if err := setUp(); err != nil {
		fmt.Println("init:", err)
		os.Exit(1) // The kernel panics without an init, and the guest ends.
	}
	fmt.Println("exit", m.Run())
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// setUp mounts and makes everything that programs expect after the kernel's bare start.
func setUp() error {
	for _, mount := range []struct{ kind, path string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(mount.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(mount.kind, mount.path, mount.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", mount.path, err)
		}
	}
	return errors.Join(
		os.Setenv("PATH", "/usr/bin"),
		os.Setenv("HOME", "/tmp"),
		redirect(resultPort))
}

// redirect makes a serial port the standard output and error.
func redirect(port string) error {
	fd, err := unix.Open(port, unix.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", port, err)
	}
	defer unix.Close(fd)
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	settings.Oflag &^= unix.OPOST // no carriage returns
	return errors.Join(
		unix.IoctlSetTermios(fd, unix.TCSETS, settings),
		unix.Dup3(fd, 1, 0),
		unix.Dup3(fd, 2, 0))
}

func inGuest() bool { return os.Getpid() == 1 }

// All other tests need the guest.
func TestOutsideOfTheGuest(t *testing.T) {
	if !inGuest() {
		t.Skip("the tests of this package run in a guest: make test-guest")
	}
}

// load loads a module that is not there yet, and what the modules that follow
// need first.
func load(t *testing.T, name, parameters string) {
	t.Helper()
	f, err := os.Open(filepath.Join("/modules", name+".ko"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), parameters, 0); err != nil && err != unix.EEXIST {
		t.Fatalf("load %s: %v", name, err)
	}
}
