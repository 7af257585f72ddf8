package bmc

import "testing"

// fixed is a story of a BMC whose sensors have values of the configuration.
func fixed(t *testing.T, name string, tell func(t *testing.T, b *bench)) {
	t.Helper()
	story(t, name, func(t *testing.T, b *bench) {
		warm, present := inlet(nil), supply(nil)
		warm.Value, present.Value = 25, 1
		b.bmc = opened(t, Config{Sensors: []SensorConfig{warm, present}})
		tell(t, b)
	})
}

func TestSetSensorReading(t *testing.T) {
	fixed(t, "of a sensor with thresholds", func(t *testing.T, b *bench) {
		b.is("at first", b.sensor(0x2D, "30"), "00 19 C0 C0")
		b.is("leave it", b.sensor(0x30, "30 00"), "00")
		b.raises("at first", "0408316F00FFFF")
		b.is("write", b.sensor(0x30, "30 01 3C"), "00")
		b.is("written", b.sensor(0x2D, "30"), "00 3C C0 D8")
		b.raises("what it passes", "0401300157"+"3C28", "0401300159"+"3C32")
		b.is("nothing to write", b.sensor(0x30, "30 01"), "C7")
		for operations, code := range map[string]string{"02": "CC", "03": "CC", "C1": "CC", "11": "80", "05": "80", "41": "81"} {
			b.is(operations, b.sensor(0x30, "30"+operations+"10 0100 0100 000000"), code)
		}
		b.is("as before", b.sensor(0x2D, "30"), "00 3C C0 D8")
		b.is("cold reset", b.app(0x02, ""), "00")
		b.is("as configured", b.sensor(0x2D, "30"), "00 19 C0 C0")
	})

	fixed(t, "of a discrete sensor", func(t *testing.T, b *bench) {
		b.raises("at first", "0408316F00FFFF")
		b.is("write", b.sensor(0x30, "31 10 00 0201"), "00")
		b.is("those that it can have", b.sensor(0x2D, "31"), "00 00 C0 02 81")
		b.raises("what has changed", "040831EF00FFFF", "0408316F01FFFF", "0408316F08FFFF")
		b.is("set", b.sensor(0x30, "31 20 00 FD"), "00")
		b.is("one more", b.sensor(0x2D, "31"), "00 00 C0 03 81")
		b.is("clear what is not in the mask", b.sensor(0x30, "31 30 00 01"), "00")
		b.is("those of the absent byte stay", b.sensor(0x2D, "31"), "00 00 C0 01 81")
		b.is("clear the others as well", b.sensor(0x30, "31 30 00 01 00"), "00")
		b.is("one is left", b.sensor(0x2D, "31"), "00 00 C0 01 80")
		b.is("leave it", b.sensor(0x30, "31 00 00 FF7F"), "00")
		b.is("nothing to write", b.sensor(0x30, "31 10 00"), "00")
		for operations, code := range map[string]string{"01": "80", "14": "80", "50": "81", "D0": "CC"} {
			b.is(operations, b.sensor(0x30, "31"+operations+"00 0100 0100 000000"), code)
		}
		b.is("as before", b.sensor(0x2D, "31"), "00 00 C0 01 80")
	})

	fixed(t, "their records say so", func(t *testing.T, b *bench) {
		b.is("reserve", b.storage(0x22, ""), "00 0100")
		b.is("with thresholds", b.storage(0x23, "0100 0200 0A 01"), "00 0300 83")
		b.is("discrete", b.storage(0x23, "0100 0300 0A 01"), "00 FFFF 83")
	})

	equipped(t, "of one whose value comes from elsewhere", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("write", b.sensor(0x30, "30 01 3C"), "80")
		b.is("write", b.sensor(0x30, "31 10 00 01"), "80")
	})

	equipped(t, "types are what they are", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("that it has", b.sensor(0x2E, "30 01 01"), "00")
		b.is("another type", b.sensor(0x2E, "30 02 01"), "CD")
		b.is("another event type", b.sensor(0x2E, "31 08 03"), "CD")
	})
}
