package bmc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/readfile"
	"ipmbd/ipmi"
)

func at(v float64) *float64 { return &v }

// inlet is a sensor with thresholds: its readings are whole degrees.
func inlet(read func() (float64, error)) SensorConfig {
	return SensorConfig{Name: "Inlet", Number: 0x30, Type: 0x01, Entity: 0x07, Instance: 1, Unit: 1, Min: 0, Max: 255,
		Thresholds: Thresholds{LowerCritical: at(5), UpperNonCritical: at(40), UpperCritical: at(50)}, Hysteresis: 2, Read: read}
}

// supply is a discrete sensor: present, failed.
func supply(read func() (float64, error)) SensorConfig {
	return SensorConfig{Name: "Supply", Number: 0x31, Type: 0x08, Entity: 0x0A, Instance: 2, EventType: 0x6F, States: 0x0103, Read: read}
}

// equipped is a story of a BMC with both sensors; the story sets their values.
const gone = -math.MaxFloat64 // stands for a source that cannot be read

func equipped(t *testing.T, name string, tell func(t *testing.T, b *bench, degrees, states *float64)) {
	t.Helper()
	story(t, name, func(t *testing.T, b *bench) {
		degrees, states := at(25), at(1)
		from := func(v *float64) func() (float64, error) {
			return func() (float64, error) {
				if *v == gone {
					return 0, errors.New("no such device")
				}
				return *v, nil
			}
		}
		b.bmc = opened(t, Config{
			Sensors:     []SensorConfig{inlet(from(degrees)), supply(from(states))},
			Controllers: []Controller{{Name: "BMC", Address: 0x20, Capabilities: 0xDF, Entity: 7, Instance: 1}},
		})
		tell(t, b, degrees, states)
	})
}

func (b *bench) sensor(cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	return b.asks(ipmi.NetFnSensor, cmd, octets(data)...)
}

// polled is the event messages of a poll.
func (b *bench) polled() []string {
	var messages []string
	b.bmc.PollSensors(func(e ipmi.Event) {
		if e.Generator != 0x20 {
			b.t.Errorf("generator %04X", e.Generator)
		}
		messages = append(messages, strings.ToUpper(hex.EncodeToString(e.Message[:])))
	})
	return messages
}

func (b *bench) raises(what string, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.polled()); diff != "" {
		b.t.Errorf("%s: %s", what, diff)
	}
}

func TestSensorReadings(t *testing.T) {
	equipped(t, "with thresholds", func(t *testing.T, b *bench, degrees, _ *float64) {
		for _, c := range []struct {
			degrees float64
			want    string
		}{
			{25, "00 19 C0 C0"}, {4, "00 04 C0 C2"}, {40, "00 28 C0 C8"}, {60, "00 3C C0 D8"},
			{-5, "00 00 C0 C2"}, {300, "00 FF C0 D8"}, {gone, "00 00 E0 C0"}, {math.NaN(), "00 00 E0 C0"},
			{math.Inf(1), "00 00 E0 C0"}, {math.Inf(-1), "00 00 E0 C0"},
		} {
			*degrees = c.degrees
			b.is(fmt.Sprint(c.degrees), b.sensor(0x2D, "30"), c.want)
		}
		b.is("type", b.sensor(0x2F, "30"), "00 01 01")
		b.is("factors", b.sensor(0x23, "30 19"), "00 FF 64 00 00 00 00 E0")
	})

	equipped(t, "discrete", func(t *testing.T, b *bench, _, states *float64) {
		b.is("present", b.sensor(0x2D, "31"), "00 00 C0 01 80")
		*states = 0xFFFF
		b.is("all that there are", b.sensor(0x2D, "31"), "00 00 C0 03 81")
		*states = -1
		b.is("no mask", b.sensor(0x2D, "31"), "00 00 E0 00 80")
		*states = math.Inf(1)
		b.is("infinity", b.sensor(0x2D, "31"), "00 00 E0 00 80")
		b.is("type", b.sensor(0x2F, "31"), "00 08 6F")
		for cmd, data := range map[ipmi.Command]string{0x23: "31 00", 0x24: "31 FF 0000", 0x25: "31 FF", 0x26: "31 00 000000000000", 0x27: "31"} {
			b.is(fmt.Sprint("command ", cmd), b.sensor(cmd, data), "CD")
		}
	})

	equipped(t, "none of that number", func(t *testing.T, b *bench, _, _ *float64) {
		for _, c := range sensorCommands {
			b.is(fmt.Sprint("command ", c.command), b.sensor(c.command, strings.Repeat("99", c.min)), "CB")
		}
	})
	story(t, "none at all", func(t *testing.T, b *bench) {
		b.is("reading", b.sensor(0x2D, "30"), "CB")
		b.is("ofSensor", b.sensor(0x2F, "30"), "CB")
		b.is("device SDRs", b.sensor(0x20, ""), "00 00 00")
		b.is("the only record", b.storage(0x23, "0000 0000 00 FF"), "00 FFFF 0100 51 12 0E 20 00 00 D7 000000 00 00 00 C3 424D43")
	})
}

func TestSensorFromFile(t *testing.T) {
	folder := t.TempDir()
	fifo, held := filepath.Join(folder, "fifo"), filepath.Join(folder, "held")
	for _, path := range []string{fifo, held} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(text string) string {
		path := filepath.Join(folder, fmt.Sprint(len(text), "_input"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		file    string
		reading string
		cause   string
	}{
		"number":                       {file("42499\n"), "00 2A C0 C8", ""},
		"number without end of line":   {file("17000"), "00 11 C0 C0", ""},
		"as long as may be":            {file(strings.Repeat(" ", readfile.Size-5) + "17000"), "00 11 C0 C0", ""},
		"longer":                       {file(strings.Repeat(" ", readfile.Size-4) + "17000"), "00 00 E0 C0", "4096 bytes"},
		"no number":                    {file("hot"), "00 00 E0 C0", "no number"},
		"empty":                        {file(""), "00 00 E0 C0", "no number"},
		"no such file":                 {filepath.Join(folder, "absent"), "00 00 E0 C0", "no such file"},
		"folder":                       {folder, "00 00 E0 C0", "directory"},
		"file without an end":          {"/dev/zero", "00 00 E0 C0", "4096 bytes"},
		"pipe to which nobody writes":  {fifo, "00 00 E0 C0", "no number"},
		"device that refuses its read": {"/proc/self/mem", "00 00 E0 C0", "input/output error"},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			c := inlet(nil)
			c.File, c.Scale = test.file, 0.001
			b := &bench{t: t, bmc: opened(t, Config{Sensors: []SensorConfig{c}, SensorFault: func(sensor string, cause error) {
				told = append(told, fmt.Sprint(sensor, ": ", cause))
			}})}
			b.is("before it was read", b.sensor(0x2D, "30"), "00 00 E0 C0")
			for range 3 {
				b.polled()
				b.is("reading", b.sensor(0x2D, "30"), test.reading)
			}
			if test.cause == "" && len(told) > 0 || test.cause != "" && (len(told) != 1 || !strings.Contains(told[0], test.cause)) {
				t.Errorf("told %q", told)
			}
		})
	}
}

// A read that never returns has a sensor unavailable after 2 s. It delays neither the poll nor a
// request, no second read of the file begins, and the sensor is told of once, and once when it is
// back.
func TestSensorFileThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		hung, well := inlet(nil), inlet(nil)
		hung.File, well.File, well.Name, well.Number = "hung", "well", "Well", 0x31
		b := &bench{t: t, bmc: opened(t, Config{Sensors: []SensorConfig{hung, well}, SensorFault: func(sensor string, cause error) {
			told = append(told, fmt.Sprint(sensor, ": ", cause))
		}})}
		var reads atomic.Int32
		hangs := make(chan struct{})
		b.bmc.sensors[0].file.read = func(string) (float64, error) {
			if reads.Add(1) == 2 {
				<-hangs
			}
			return 25, nil
		}
		degrees := 25.0
		b.bmc.sensors[1].file.read = func(string) (float64, error) { return degrees, nil }
		b.raises("both are well")
		for second := range 10 {
			begin := time.Now()
			degrees = 25 + 25*float64(second%2)
			if n := len(b.polled()); second > 0 && n != 2 {
				t.Errorf("after %d s: %d events of the other sensor", second, n)
			}
			if took := time.Since(begin); took > filesTime {
				t.Errorf("the poll took %v", took)
			}
			want := "00 19 C0 C0" // the last value
			if second > 2 {
				want = "00 00 E0 C0"
			}
			b.is(fmt.Sprint(second, " s after it began to hang"), b.sensor(0x2D, "30"), want)
			time.Sleep(time.Second - time.Since(begin))
		}
		if reads.Load() != 2 {
			t.Errorf("%d reads", reads.Load())
		}
		close(hangs)
		synctest.Wait()
		b.polled()
		b.is("when it is back", b.sensor(0x2D, "30"), "00 19 C0 C0")
		if want := []string{"Inlet: " + readfile.ErrTooSlow.Error(), "Inlet: <nil>"}; !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
	})
}

func TestSensorWithoutSource(t *testing.T) {
	c := inlet(nil)
	c.Value = 33
	b := &bench{t: t, bmc: opened(t, Config{Sensors: []SensorConfig{c}})}
	b.is("reading", b.sensor(0x2D, "30"), "00 21 C0 C0")
}

func TestSensorSettings(t *testing.T) {
	equipped(t, "thresholds", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("as configured", b.sensor(0x27, "30"), "00 1A 00 05 00 28 32 00")
		b.is("one that is not there", b.sensor(0x26, "30 01 01 02 03 04 05 06"), "CC")
		b.is("set", b.sensor(0x26, "30 08 01 02 03 14 05 06"), "00")
		b.is("get", b.sensor(0x27, "30"), "00 1A 00 05 00 14 32 00")
		b.is("reading", b.sensor(0x2D, "30"), "00 19 C0 C8")
	})
	equipped(t, "hysteresis", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("as configured", b.sensor(0x25, "30 FF"), "00 02 02")
		b.is("mask", b.sensor(0x25, "30 00"), "CC")
		b.is("mask", b.sensor(0x24, "30 00 01 03"), "CC")
		b.is("set", b.sensor(0x24, "30 FF 01 03"), "00")
		b.is("get", b.sensor(0x25, "30 FF"), "00 01 03")
	})
	equipped(t, "event enables", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("at first", b.sensor(0x29, "30"), "00 C0 8402 8402")
		b.is("discrete", b.sensor(0x29, "31"), "00 C0 0301 0301")
		b.is("disable some", b.sensor(0x28, "30 E0 8000 04"), "00")
		b.is("left", b.sensor(0x29, "30"), "00 C0 0402 8002")
		b.is("enable some", b.sensor(0x28, "30 50 FF0F 0400"), "00")
		b.is("left", b.sensor(0x29, "30"), "00 40 8402 8402")
		b.is("both", b.sensor(0x28, "30 F0"), "CC")
		b.is("off", b.sensor(0x28, "30 00"), "00")
		b.is("left", b.sensor(0x29, "30"), "00 00 8402 8402")
		b.is("reading", b.sensor(0x2D, "30"), "00 00 20 C0")
	})
}

func TestSensorEvents(t *testing.T) {
	equipped(t, "thresholds are passed and left", func(t *testing.T, b *bench, degrees, _ *float64) {
		b.polled() // the supply is there
		*degrees = 39
		b.raises("below")
		*degrees = 41
		b.raises("beyond", "0401300157"+"2928")
		b.raises("still")
		*degrees = 39
		b.raises("not yet back")
		b.is("status", b.sensor(0x2B, "30"), "00 C0 8000 0000")
		*degrees = 38
		b.raises("nearly back")
		*degrees = 37
		b.raises("back", "0401308157"+"2528")
		b.is("status", b.sensor(0x2B, "30"), "00 C0 0000 8000")
		*degrees = 55
		b.raises("beyond two", "0401300157"+"3728", "0401300159"+"3732")
		for _, value := range []float64{gone, math.Inf(1), math.Inf(-1), math.NaN()} {
			*degrees = value
			b.raises("unavailable")
		}
		*degrees = 5
		b.raises("from above to below", "0401300152"+"0505", "0401308157"+"0528", "0401308159"+"0532")
		*degrees = 7
		b.raises("not yet back")
		*degrees = 8
		b.raises("back", "0401308152"+"0805")
	})

	equipped(t, "states come and go", func(t *testing.T, b *bench, _, states *float64) {
		b.raises("present", "0408316F00FFFF")
		*states = 3
		b.raises("failed", "0408316F01FFFF")
		*states = 0x100
		b.raises("another", "040831EF00FFFF", "040831EF01FFFF", "0408316F08FFFF")
	})

	equipped(t, "events that are off", func(t *testing.T, b *bench, degrees, states *float64) {
		b.sensor(0x28, "31 00")
		b.sensor(0x28, "30 E0 8000 0002")
		*degrees, *states = 60, 2
		b.raises("the one that is on", "0401300159"+"3C32")
		*degrees = 20
		b.raises("the other", "0401308157"+"1428")
		b.sensor(0x28, "30 40")
		*degrees = 60
		b.raises("none")
		b.is("status", b.sensor(0x2B, "30"), "00 40 8002 0000")
	})

	equipped(t, "rearmed", func(t *testing.T, b *bench, degrees, _ *float64) {
		*degrees = 60
		b.polled()
		b.is("one", b.sensor(0x2A, "30 80 8000"), "00")
		b.is("status", b.sensor(0x2B, "30"), "00 E0 0002 0000")
		b.is("reading", b.sensor(0x2D, "30"), "00 00 E0 C0")
		b.raises("one again", "0401300157"+"3C28")
		b.is("all", b.sensor(0x2A, "30 00"), "00")
		b.is("status", b.sensor(0x2B, "30"), "00 E0 0000 0000")
		b.raises("both again", "0401300157"+"3C28", "0401300159"+"3C32")
		b.is("status", b.sensor(0x2B, "30"), "00 C0 8002 0000")
		b.is("reading", b.sensor(0x2D, "30"), "00 3C C0 D8")
	})
}

func TestFactors(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      factors
	}{
		{0, 255, factors{100, 0, 0, -2}},
		{-50, 205, factors{100, -500, 1, -2}},
		{0, 12.75, factors{500, 0, 0, -4}},
		{-128, 127, factors{100, -128, 2, -2}},
		{0, 25500, factors{100, 0, 0, 0}},
		{1e9, 1e9 + 1, factors{}},
	} {
		f, err := newFactors(c.low, c.high)
		if c.want == (factors{}) {
			if err == nil && f.value(0) > c.low {
				t.Errorf("%g to %g: %+v", c.low, c.high, f)
			}
			continue
		}
		if f != c.want || err != nil {
			t.Errorf("%g to %g: %+v, %v", c.low, c.high, f, err)
		}
	}
	for _, r := range [][2]float64{{1, 1}, {2, 1}, {0, math.Inf(1)}, {math.NaN(), 1}, {-1e300, 1e300}} {
		if f, err := newFactors(r[0], r[1]); err == nil {
			t.Errorf("%g to %g: %+v", r[0], r[1], f)
		}
	}
}

func (f factors) value(x byte) float64 {
	return (float64(f.m)*float64(x) + float64(f.b)*math.Pow10(f.bExp)) * math.Pow10(f.rExp)
}

// A reading is at most half a step off, and the numbers fit their fields.
func FuzzFactors(f *testing.F) {
	f.Add(-50.0, 205.0, 0.3)
	f.Add(0.0, 1e-6, 0.9)
	f.Add(1000.0, 1001.0, 0.5)
	f.Fuzz(func(t *testing.T, low, high, part float64) {
		c, err := newFactors(low, high)
		if err != nil || !(part >= 0 && part <= 1) {
			return
		}
		if c.m < 1 || c.m > 511 || c.b < -512 || c.b > 511 || c.bExp < -8 || c.bExp > 7 || c.rExp < -8 || c.rExp > 7 {
			t.Fatalf("%+v", c)
		}
		v := low + part*(high-low)
		step := float64(c.m) * math.Pow10(c.rExp)
		if off := math.Abs(c.value(c.raw(v)) - v); off > step*0.5001+math.Abs(v)*1e-6 {
			t.Errorf("%g to %g, %+v: %g is off by %g", low, high, c, v, off)
		}
	})
}

func TestSensorConfig(t *testing.T) {
	for name, spoil := range map[string]func(*SensorConfig){
		"the name must have 2 to 16":    func(c *SensorConfig) { c.Name = "x" },
		"is reserved":                   func(c *SensorConfig) { c.Number = 0xFF },
		"above 7Fh":                     func(c *SensorConfig) { c.EventType, c.States = 0x80, 1 },
		"is above 7F":                   func(c *SensorConfig) { c.Instance = 0x80 },
		"must not have control":         func(c *SensorConfig) { c.Name = "a\nb" },
		"it is a mask":                  func(c *SensorConfig) { c.EventType, c.States, c.Value = 3, 1, -1 },
		"15 states":                     func(c *SensorConfig) { c.EventType = 3 },
		"both":                          func(c *SensorConfig) { c.File, c.Read = "x", func() (float64, error) { return 0, nil } },
		"min 0 is not below max 0":      func(c *SensorConfig) { c.Max = 0 },
		"upper-non-critical 400 is not": func(c *SensorConfig) { c.Thresholds.UpperNonCritical = at(400) },
		"hysteresis -1 is not":          func(c *SensorConfig) { c.Hysteresis = -1 },
		"value 256 is not from":         func(c *SensorConfig) { c.Value = 256 },
		"value NaN is not from":         func(c *SensorConfig) { c.Value = math.NaN() },
		"not in their order":            func(c *SensorConfig) { c.Thresholds.UpperCritical, c.Thresholds.UpperNonCritical = at(60), at(70) },
		"is not below the upper":        func(c *SensorConfig) { c.Thresholds = Thresholds{LowerCritical: at(90), UpperCritical: at(90)} },
		"reaches beyond":                func(c *SensorConfig) { c.Hysteresis = 95 },
		`number 30h is that of "Inlet"`: func(c *SensorConfig) {},
	} {
		c := inlet(nil)
		spoil(&c)
		if err := c.Validate(); (err == nil) != (name == `number 30h is that of "Inlet"`) {
			t.Errorf("%s: Validate: %v", name, err)
		}
		_, err := newSensors([]SensorConfig{inlet(nil), c})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
