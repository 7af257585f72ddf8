package bmc

import (
	"testing"

	"ipmbd/ipmi"
)

func TestSystemInfo(t *testing.T) {
	story(t, "a name that is longer than a block", func(t *testing.T, b *bench) {
		b.is("begin", b.app(0x58, "00 01"), "00")
		b.is("begin again", b.app(0x58, "00 01"), "81")
		b.is("progress", b.app(0x59, "00 00 00 00"), "00 11 01")
		b.is("first block", b.app(0x58, "02 00 00 14 6162636465666768696A6B6C6D6E"), "00")
		b.is("second block", b.app(0x58, "02 01 6F7071727374"), "00")
		b.is("end", b.app(0x58, "00 00"), "00")
		b.is("progress", b.app(0x59, "00 00 00 00"), "00 11 00")
		b.is("first block", b.app(0x59, "00 02 00 00"), "00 11 00 00 14 6162636465666768696A6B6C6D6E")
		b.is("second block", b.app(0x59, "00 02 01 00"), "00 11 01 6F707172737400000000000000000000")
		b.is("third block", b.app(0x59, "00 02 02 00"), "C9")
		b.is("of another host", b.on("host1", 1, ipmi.NetFnApp, 0x59, "00 02 00 00"), "00 11 00 00000000000000000000000000000000")
	})

	story(t, "texts that were never set are empty", func(t *testing.T, b *bench) {
		for parameter := byte(1); parameter <= 7; parameter++ {
			b.is("text", b.asks(ipmi.NetFnApp, 0x59, 0, parameter, 0, 0), "00 11 00 00000000000000000000000000000000")
		}
		b.is("the next parameter", b.app(0x59, "00 08 00 00"), "80")
		b.is("its revision", b.app(0x59, "80 08 00 00"), "00 11")
	})

	runs(t, "the name of the system that runs is forgotten when the host is reset", func(t *testing.T, r *rig) {
		r.is("primary", r.app(0x58, "03 00 00 02 4142"), "00")
		r.is("running", r.app(0x58, "04 00 00 02 4344"), "00")
		r.is("reset", r.chassis(0x02, "03"), "00")
		r.is("primary", r.app(0x59, "00 03 00 00"), "00 11 00 00 02 4142 000000000000000000000000")
		r.is("running", r.app(0x59, "00 04 00 00"), "00 11 00 00000000000000000000000000000000")
	})
}
