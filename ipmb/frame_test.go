package ipmb_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// octets reads bytes written as "2C 18 BC".
func octets(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// deviceID is the data of the answer to Get Device ID that the vectors use.
var deviceID = octets("50 01 04 00 02 21 57 01 00 0B 0B")

// vectors are frames that were computed by hand from IPMB v1.0, section 2.11.
var vectors = []struct {
	name  string
	bytes string
	frame ipmb.Frame
}{
	{
		"get device id", "2C 18 BC 20 04 01 DB",
		ipmb.Frame{Destination: 0x2C, NetFn: ipmi.NetFnApp, Source: 0x20, Sequence: 1, Command: 0x01},
	},
	{
		"answer to get device id", "20 1C C4 2C 04 01 00 50 01 04 00 02 21 57 01 00 0B 0B E9",
		ipmb.Frame{Destination: 0x20, NetFn: 0x07, Source: 0x2C, Sequence: 1, Command: 0x01, Data: deviceID},
	},
	{
		"smallest response", "58 BC EC 20 FC 40 C1 E3",
		ipmb.Frame{Destination: 0x58, NetFn: 0x2F, Source: 0x20, Sequence: 63, Command: 0x40, Code: ipmi.CodeInvalidCommand},
	},
	{
		"general call without its leading 00", "2C 18 BC 20 08 01 D7",
		ipmb.Frame{Destination: 0x2C, NetFn: ipmi.NetFnApp, Source: 0x20, Sequence: 2, Command: 0x01},
	},
	{
		"ipmbbridge's broadcast", "00 18 E8 20 00 01 DF",
		ipmb.Frame{Destination: 0x00, NetFn: ipmi.NetFnApp, Source: 0x20, Command: 0x01},
	},
	{
		"request inside a send message", "2C 18 BC 20 16 01 C9",
		ipmb.Frame{Destination: 0x2C, NetFn: ipmi.NetFnApp, Source: 0x20, Sequence: 5, SourceLUN: 2, Command: 0x01},
	},
	{
		"answer to lun 2", "20 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9",
		ipmb.Frame{Destination: 0x20, NetFn: 0x07, DestinationLUN: 2, Source: 0x2C, Sequence: 5, Command: 0x01, Data: deviceID},
	},
	{
		"platform event", "20 10 D0 2C 1C 02 04 01 30 01 57 60 5F 6A",
		ipmb.Frame{Destination: 0x20, NetFn: ipmi.NetFnSensor, Source: 0x2C, Sequence: 7, Command: 0x02, Data: octets("04 01 30 01 57 60 5F")},
	},
	{
		"answer to a platform event", "2C 14 C0 20 1C 02 00 C2",
		ipmb.Frame{Destination: 0x2C, NetFn: 0x05, Source: 0x20, Sequence: 7, Command: 0x02},
	},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			want := octets(v.bytes)
			got, err := ipmb.Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.frame, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if b := v.frame.Append(nil); !bytes.Equal(b, want) {
				t.Errorf("encoded % X, want % X", b, want)
			}
			if v.frame.Len() != len(want) {
				t.Errorf("Len is %d, want %d", v.frame.Len(), len(want))
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	long := ipmb.Frame{Destination: 0x20, NetFn: ipmi.NetFnOEM, Source: 0x2C, Command: 1, Data: bytes.Repeat([]byte{0xA5}, 232)}.Append(nil)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"nothing", nil, ipmb.ErrShortFrame},
		{"six bytes", octets("2C 18 BC 20 04 DC"), ipmb.ErrShortFrame},
		{"7-byte response", octets("20 1C C4 2C 04 01 CF"), ipmb.ErrShortFrame},
		{"header right, body wrong", octets("2C 18 BC 20 04 01 DC"), ipmb.ErrBodyChecksum},
		{"header wrong, body right", octets("2C 18 BD 20 04 01 DB"), ipmb.ErrHeaderChecksum},
		{"header checksum left zero", octets("2C 18 00 20 04 01 DB"), ipmb.ErrHeaderChecksum},
		{"length byte left in front", octets("07 2C 18 BC 20 04 01 DB"), ipmb.ErrHeaderChecksum},
		{"count byte of an smbus block write", octets("2C 18 05 BC 20 04 01 DB"), ipmb.ErrHeaderChecksum},
		{"leading address twice", octets("2C 2C 18 BC 20 04 01 DB"), ipmb.ErrHeaderChecksum},
		{"leading address missing", octets("18 BC 20 04 01 DB 00"), ipmb.ErrHeaderChecksum},
		{"general call with its leading 00", octets("00 2C 18 BC 20 08 01 D7"), ipmb.ErrHeaderChecksum},
		{"mctp over smbus", octets("20 0F 09 2D 01 08 09 C8 00"), ipmb.ErrHeaderChecksum},
		{"last byte missing", octets("20 1C C4 2C 04 01 00 50 01 04 00 02 21 57 01 00 0B 0B"), ipmb.ErrBodyChecksum},
		{"one byte too many", octets("2C 18 BC 20 04 01 DB 01"), ipmb.ErrBodyChecksum},
		{"239 bytes cut to 238", long[:238], ipmb.ErrBodyChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			if f, err := ipmb.Decode(c.bytes); !errors.Is(err, c.want) {
				t.Errorf("got %+v and %v, want %v", f, err, c.want)
			}
		})
	}
}

// The longest frame of ipmb-dev, and frames whose length needs more than eight bits.
func TestDecodeLongFrames(t *testing.T) {
	for _, n := range []int{238, 239, 255, 256, 257, 263, 264, 600} {
		want := ipmb.Frame{Destination: 0x20, NetFn: ipmi.NetFnOEM, Source: 0x2C, Command: 1, Data: bytes.Repeat([]byte{0x5A}, n-ipmb.MinRequest)}
		b := want.Append(nil)
		if len(b) != n {
			t.Fatalf("encoded %d bytes, want %d", len(b), n)
		}
		got, err := ipmb.Decode(b)
		if err != nil || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%d bytes: %v, %d bytes of data", n, err, len(got.Data))
		}
		b[n-2] ^= 1
		if _, err := ipmb.Decode(b); !errors.Is(err, ipmb.ErrBodyChecksum) {
			t.Errorf("%d bytes with a bit wrong at the end: %v", n, err)
		}
	}
}

// Any one byte that is wrong is found, and found in the right half.
func TestChecksumsFindEachWrongByte(t *testing.T) {
	for _, v := range vectors {
		right := octets(v.bytes)
		for i := range right {
			want := ipmb.ErrHeaderChecksum
			if i >= 3 {
				want = ipmb.ErrBodyChecksum
			}
			for delta := 1; delta < 256; delta++ {
				wrong := bytes.Clone(right)
				wrong[i] += byte(delta)
				if _, err := ipmb.Decode(wrong); !errors.Is(err, want) {
					t.Fatalf("%s, byte %d off by %d: %v, want %v", v.name, i, delta, err, want)
				}
			}
		}
	}
}

func randomFrame(r *rand.Rand) ipmb.Frame {
	f := ipmb.Frame{
		Destination:    ipmi.Address(r.UintN(256)),
		NetFn:          ipmi.NetFn(r.UintN(64)),
		DestinationLUN: ipmi.LUN(r.UintN(4)),
		Source:         ipmi.Address(r.UintN(256)),
		Sequence:       uint8(r.UintN(64)),
		SourceLUN:      ipmi.LUN(r.UintN(4)),
		Command:        ipmi.Command(r.UintN(256)),
		Data:           make([]byte, r.IntN(300)),
	}
	if f.NetFn.IsResponse() {
		f.Code = ipmi.CompletionCode(r.UintN(256))
	}
	for i := range f.Data {
		f.Data[i] = byte(r.UintN(256))
	}
	return f
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		want := randomFrame(r)
		b := want.Append(nil)
		got, err := ipmb.Decode(b)
		if err != nil {
			t.Fatalf("% X: %v", b, err)
		}
		sameData := bytes.Equal(want.Data, got.Data)
		got.Data = want.Data
		if !sameData || !reflect.DeepEqual(want, got) {
			t.Fatalf("% X: the data are equal: %t; (-want +got):\n%s", b, sameData, cmp.Diff(want, got))
		}
		if want.Len() != len(b) {
			t.Fatalf("Len is %d, encoded %d bytes", want.Len(), len(b))
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	for _, v := range vectors {
		b := v.frame.Append([]byte{0xEE, 0xFF})
		if !bytes.Equal(b, slices.Concat([]byte{0xEE, 0xFF}, octets(v.bytes))) {
			t.Errorf("%s: % X", v.name, b)
		}
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	frame := vectors[1].frame
	buf := make([]byte, 0, 64)
	var err error
	allocs := testing.AllocsPerRun(100, func() {
		buf = frame.Append(buf[:0])
		_, err = ipmb.Decode(buf)
	})
	if err != nil || allocs != 0 {
		t.Errorf("%v allocations, error %v", allocs, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range vectors {
		f.Add(octets(v.bytes))
	}
	f.Add(octets("20 1C C4 2C 04 01 CF"))
	f.Add(octets("00 2C 18 BC 20 08 01 D7"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ipmb.Decode(b)
		if err != nil {
			return
		}
		if again := frame.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("% X became % X", b, again)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	frame := vectors[1].frame
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = frame.Append(buf[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	frame := octets(vectors[1].bytes)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ipmb.Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}
