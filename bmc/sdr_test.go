package bmc

import (
	"fmt"
	"testing"
	"time"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

func TestRepository(t *testing.T) {
	const (
		controller = "0100 51 12 0E 20 00 00 DF 000000 07 01 00 C3 424D43"
		full       = "0200 51 01 30 20 00 30 07 01 03 68 01 01 8422 8432 1A1A 00 01 00 00 64 00 00 00 00 E0" +
			"00 00 00 00 FF 00 00 32 28 00 05 00 02 02 0000 00 C5 496E6C6574"
		compact = "0300 51 02 21 20 00 31 0A 02 03 40 08 6F 0301 0301 0301 C0 00 00 01 00 00 00 000000 00 C6 537570706C79"
	)
	equipped(t, "is read as a whole", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("info", b.storage(0x20, ""), "00 51 0300 0000 80436D38 FFFFFFFF 03")
		b.is("allocation", b.storage(0x21, ""), "00 0300 4000 0000 0000 01")
		b.is("first", b.storage(0x23, "0000 0000 00 FF"), "00 0200"+controller)
		b.is("second", b.storage(0x23, "0000 0200 00 FF"), "00 0300"+full)
		b.is("third", b.storage(0x23, "0000 0300 00 FF"), "00 FFFF"+compact)
		b.is("last", b.storage(0x23, "0000 FFFF 00 FF"), "00 FFFF"+compact)
		b.is("fourth", b.storage(0x23, "0000 0400 00 FF"), "CB")
		b.is("as device SDR", b.sensor(0x21, "0000 0200 00 FF"), "00 0300"+full)
		b.is("sensors", b.sensor(0x20, ""), "00 02 01")
		b.is("sensors", b.sensor(0x20, "00"), "00 02 01")
		b.is("records", b.sensor(0x20, "01"), "00 03 01")
		b.is("neither", b.sensor(0x20, "02"), "CC")
	})

	equipped(t, "is read in parts", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("the header", b.storage(0x23, "0000 0200 00 05"), "00 0300 0200 51 01 30")
		b.is("without a reservation", b.storage(0x23, "0000 0200 05 05"), "C5")
		b.is("reserve", b.storage(0x22, ""), "00 0100")
		b.is("a part", b.storage(0x23, "0100 0200 05 03"), "00 0300 20 00 30")
		b.is("beyond its end", b.storage(0x23, "0100 0200 30 FF"), "00 0300 496E6C6574")
		b.is("behind its end", b.storage(0x23, "0100 0200 35 01"), "C9")
		b.is("reserve again", b.storage(0x22, ""), "00 0200")
		b.is("with the reservation that has ended", b.storage(0x23, "0100 0200 05 03"), "C5")
	})

	equipped(t, "is more than IPMB carries", func(t *testing.T, b *bench, _, _ *float64) {
		for count, want := range map[byte]ipmi.CompletionCode{0xFF: ipmi.CodeCannotReturnBytes, 23: ipmi.CodeCannotReturnBytes, 22: ipmi.CodeOK} {
			r, err := ipmi.Do(t.Context(), b.bmc, &ipmi.Request{Requester: 0x81, NetFn: ipmi.NetFnStorage, Command: 0x23, Data: []byte{0, 0, 2, 0, 0, count}})
			if r.Code != want || err != nil {
				t.Errorf("%d bytes: %v, %v", count, r.Code, err)
			}
		}
	})

	equipped(t, "has the clock of the log", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("set", b.storage(0x29, "00000050"), "00")
		time.Sleep(time.Second)
		b.is("get", b.storage(0x28, ""), "00 01000050")
		b.is("of the log", b.storage(0x48, ""), "00 01000050")
	})
}

// Programs that find no record, or see that records can be changed, try to fill the repository.
func TestRepositoryIsNeitherEmptyNorChanged(t *testing.T) {
	const itself = "51 12 0E 20 00 00 D7 000000 00 00 00 C3 424D43"
	satellite, twin := Controller{Name: "Satellite", Address: 0x82}, Controller{Name: "Twin", Address: 0x20, Channel: 1}
	for _, tt := range []struct {
		name   string
		config Config
		want   string
	}{
		{"nothing configured", Config{}, itself},
		{"another controller", Config{Controllers: []Controller{satellite}}, itself},
		{"one on another bus", Config{Controllers: []Controller{twin}}, itself},
		{"itself, with a name", Config{Controllers: []Controller{satellite, {Name: "Main", Address: 0x20, Entity: 7}}},
			"51 12 0F 20 00 00 D7 000000 07 00 00 C4 4D61696E"},
		{"a sensor and a further device", Config{Sensors: []SensorConfig{inlet(nil)}, FRUs: []FRUConfig{{Name: "Riser", ID: 1}}}, itself},
		{"its device", Config{FRUs: []FRUConfig{{Name: "Board", Entity: 7, Instance: 1}}},
			"51 12 10 20 00 00 DF 000000 07 01 00 C5 426F617264"},
		{"its device, and itself without an entity", Config{FRUs: []FRUConfig{{Name: "Board", Entity: 7, Instance: 1}},
			Controllers: []Controller{{Name: "Main", Address: 0x20}}}, "51 12 0F 20 00 00 DF 000000 07 01 00 C4 4D61696E"},
		{"its device, and itself with an entity", Config{FRUs: []FRUConfig{{Name: "Board", Entity: 7, Instance: 1}},
			Controllers: []Controller{{Name: "Main", Address: 0x20, Entity: 6}}}, "51 12 0F 20 00 00 DF 000000 06 00 00 C4 4D61696E"},
	} {
		story(t, tt.name, func(t *testing.T, b *bench) {
			b.bmc = opened(t, tt.config)
			var found []string
			for id, next := uint16(record.First), uint16(0); id != record.Last; id = next {
				var whole []byte
				whole, next = b.bmc.repository.findRecord(id)
				if whole[3] == 0x12 && whole[5] == 0x20 && whole[6] == 0 {
					found = append(found, string(whole[2:]))
				}
				if whole[3] == 0x11 && whole[6] == primaryFRU {
					t.Errorf("a locator of the primary FRU device: % X", whole)
				}
			}
			if len(found) != 1 || found[0] != string(octets(tt.want)) {
				t.Errorf("its own records: % X", found)
			}
			info, allocation := b.storage(0x20, ""), b.storage(0x21, "")
			b.is("free bytes and operations", append(info[4:6:6], info[14]), "0000 03")
			b.is("free units", allocation[5:9], "0000 0000")
			for _, cmd := range []ipmi.Command{0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B, 0x2C} {
				_, err := ipmi.Do(t.Context(), b.bmc, &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: cmd, Data: make([]byte, 6)})
				if code := ipmi.CodeOf(err); code != ipmi.CodeInvalidCommand {
					t.Errorf("command %02Xh: %v", uint8(cmd), code)
				}
			}
		})
	}
}

func TestControllerConfig(t *testing.T) {
	for _, c := range []Controller{{Name: "x", Address: 0x20}, {Name: "BMC", Address: 0x21}, {Name: "BMC", Address: 0x20, Channel: 12}} {
		if err := (Config{Controllers: []Controller{c}}).Validate(); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// Every request about sensors and records gets an answer.
func FuzzSensors(f *testing.F) {
	for _, c := range append(sensorCommands, repositoryCommands...) {
		f.Add(byte(c.netFn), byte(c.command), make([]byte, c.min))
		f.Add(byte(c.netFn), byte(c.command), append([]byte{0x30, 0x80, 2}, make([]byte, c.max)...)[:c.max])
	}
	b := opened(f, Config{Sensors: []SensorConfig{inlet(nil), supply(nil)}})
	f.Fuzz(func(t *testing.T, netFn, cmd byte, data []byte) {
		r, err := ipmi.Do(t.Context(), b, &ipmi.Request{NetFn: ipmi.NetFn(netFn), Command: ipmi.Command(cmd), Data: data})
		if err == nil && r.Code != ipmi.CodeOK && len(r.Data) > 0 || len(r.Data) > 80 {
			t.Errorf("%v, % X", r.Code, r.Data)
		}
		b.PollSensors(func(e ipmi.Event) {
			if fmt.Sprint(e) == "" {
				t.Error("an event without words")
			}
		})
	})
}
