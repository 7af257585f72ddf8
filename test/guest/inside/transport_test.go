package inside

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// driver is a driver that carries IPMB, as package i2c knows it.
type driver struct {
	name    string   // of its devices, of its transport
	modules []string // that it needs
	longest int      // frame that it receives whole
	open    func(path string) (i2c.Transport, error)
}

// The drivers that there are. ipmb-dev cuts longer received frames off (IPMB_MSG_PAYLOAD_LEN_MAX
// in ipmb_dev_int.c).
var (
	ipmbDev    = driver{i2c.IPMBDev, []string{"ipmb_dev_int"}, 238, i2c.OpenIPMBDev}
	ipmbDevice = driver{i2c.IPMBDevice, []string{"ipmb-device"}, 255, func(path string) (i2c.Transport, error) {
		return i2c.OpenIPMBDevice(path, i2c.Switches{})
	}}
	slaveMqueue = driver{i2c.SlaveMqueue, []string{"slave-mqueue", "i2c-dev"}, 120, i2c.OpenSlaveMqueue}

	drivers = []driver{ipmbDev, ipmbDevice, slaveMqueue}
)

// load loads the modules that the driver needs.
func (d driver) load(t *testing.T) {
	t.Helper()
	for _, module := range d.modules {
		load(t, module, "")
	}
}

// binding is the driver's device on a port.
func (d driver) binding(l *loop, port int, address ipmi.Address) i2c.Binding {
	return i2c.Binding{Bus: l.adapters[port], Driver: d.name, Addr: uint8(address)}
}

// bind makes the driver's device on a port, until the test ends, and returns
// its path.
func (d driver) bind(t *testing.T, l *loop, port int, address ipmi.Address) string {
	t.Helper()
	d.load(t)
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	b := d.binding(l, port, address)
	if err := i2c.Bind(ctx, b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i2c.Unbind(b); err != nil {
			t.Error(err)
		}
	})
	return b.Node()
}

// ends opens the driver's devices on the first two ports.
func (d driver) ends(t *testing.T, l *loop) (a, b i2c.Transport) {
	t.Helper()
	var ends [2]i2c.Transport
	for port, address := range []ipmi.Address{bmcAddress, otherAddress} {
		path := d.bind(t, l, port, address)
		if transport, err := i2c.Detect(path); transport != d.name {
			t.Errorf("%s is taken for %q, %v", path, transport, err)
		}
		end, err := d.open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = end.Close() })
		ends[port] = end
	}
	return ends[0], ends[1]
}

// event returns a frame to the other end with n bytes of data.
func event(number, data int) []byte {
	return ipmb.Frame{Destination: otherAddress, NetFn: echo, Source: bmcAddress,
		Sequence: uint8(number), Data: bytes.Repeat([]byte{uint8(number)}, data)}.Append(nil)
}

// receive reads a number of frames.
func receive(t *testing.T, from i2c.Transport, want int) [][]byte {
	t.Helper()
	watchdog, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	stop := context.AfterFunc(watchdog, func() { from.Close() })
	defer stop()
	var frames [][]byte
	for len(frames) < want {
		var batch i2c.Batch
		if err := from.ReadFrames(&batch); err != nil {
			t.Fatalf("%d frames of %d: %v", len(frames), want, err)
		}
		frames = append(frames, batch.Frames()...)
	}
	return frames
}

func TestTransportsCarryFramesOfAllLengths(t *testing.T) {
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			a, b := d.ends(t, newLoop(t))
			for length := ipmb.MinRequest; length <= d.longest; length++ {
				sent := event(length%ipmb.SequenceNumbers, length-ipmb.MinRequest)
				if err := a.WriteFrame(sent); err != nil {
					t.Fatalf("%d bytes: %v", length, err)
				}
				if got := receive(t, b, 1); !bytes.Equal(got[0], sent) {
					t.Fatalf("sent % X, received % X", sent, got[0])
				}
			}
		})
	}
}

func TestTransportsKeepTheOrder(t *testing.T) {
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			a, b := d.ends(t, newLoop(t))
			const frames = 30
			for i := range frames {
				if err := a.WriteFrame(event(i, 1)); err != nil {
					t.Fatal(err)
				}
			}
			for i, got := range receive(t, b, frames) {
				if !bytes.Equal(got, event(i, 1)) {
					t.Errorf("frame %d is % X", i, got)
				}
			}
		})
	}
}

func TestTransportsTellWhatTheBusSays(t *testing.T) {
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			l := newLoop(t)
			a, _ := d.ends(t, l)
			absent := ipmb.Frame{Destination: kernelAddress, NetFn: echo, Source: bmcAddress}.Append(nil)
			if err := a.WriteFrame(absent); !errors.Is(err, i2c.ErrNotAcknowledged) {
				t.Errorf("a frame to nobody: %v", err)
			}
			l.set(t, "arbitration", 100)
			if err := a.WriteFrame(event(1, 1)); !errors.Is(err, i2c.ErrArbitrationLost) {
				t.Errorf("a frame that loses arbitration: %v", err)
			}
			if err := a.WriteFrame(make([]byte, a.Limits().MaxFrame+1)); !errors.Is(err, i2c.ErrTooLong) {
				t.Errorf("a frame that is too long: %v", err)
			}
		})
	}
}

// The driver inserts a byte count where it may not send plain I2C, and the write does not show
// that.
func TestIPMBDevThatSendsSMBusBlocksIsWarnedOf(t *testing.T) {
	l := newLoop(t)
	l.write(t, "i2c_protocol", 0)
	t.Cleanup(func() { l.write(t, "i2c_protocol", 1) })
	a, b := ipmbDev.ends(t, l)
	if err := a.WriteFrame(event(1, 1)); err != nil {
		t.Error(err)
	}
	if got := l.counters(t)["n_arrived"]; got != 1 {
		t.Errorf("%d frames have arrived", got)
	}
	for _, end := range []i2c.Transport{a, b} {
		if end.(i2c.Warner).Warning() == "" {
			t.Error("there is no warning")
		}
	}
}

// A closed device ends the read that waits for it, and can be opened again.
func TestTransportsClose(t *testing.T) {
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			l := newLoop(t)
			a, b := d.ends(t, l)
			ended := make(chan error)
			go func() { ended <- b.ReadFrames(&i2c.Batch{}) }()
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, i2c.ErrClosed) {
				t.Errorf("the read ended with %v", err)
			}
			again, err := d.open(d.binding(l, 1, otherAddress).Node())
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if err := a.WriteFrame(event(1, 1)); err != nil {
				t.Fatal(err)
			}
			receive(t, again, 1)
		})
	}
}

func TestSwitchesOfIPMBDevice(t *testing.T) {
	l := newLoop(t)
	a, b := ipmbDevice.ends(t, l)
	sender, receiver := a.(i2c.Switcher), b.(i2c.Switcher)
	if err := sender.SetIgnoreNACK(true); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("ignore NACK on an adapter that cannot: %v", err)
	}
	l.set(t, "mangling", 1)
	if err := sender.SetIgnoreNACK(true); err != nil {
		t.Error(err)
	}
	absent := ipmb.Frame{Destination: kernelAddress, NetFn: echo, Source: bmcAddress}.Append(nil)
	if err := a.WriteFrame(absent); err != nil {
		t.Errorf("a frame to nobody, when that does not matter: %v", err)
	}
	if err := sender.SetIgnoreNACK(false); err != nil {
		t.Error(err)
	}

	if err := receiver.SetVerifyChecksum(true); err != nil {
		t.Error(err)
	}
	l.set(t, "corrupt", 100)
	for range 50 {
		_ = a.WriteFrame(event(1, 0)) // An error where the header is wrong.
	}
	l.write(t, "corrupt", 0)
	counters := l.counters(t)
	if counters["n_refused"] != counters["n_corrupt_header"] || counters["n_refused"] == 0 {
		t.Errorf("%d wrong headers, %d refused", counters["n_corrupt_header"], counters["n_refused"])
	}
}
