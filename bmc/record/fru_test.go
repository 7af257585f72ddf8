package record

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

var server = FRU{
	Chassis: &FRUChassis{Type: 0x17, PartNumber: "CH-1"},
	Board:   &FRUBoard{Made: fruEpoch.Add(0x010203 * time.Minute), Manufacturer: "Maker", Name: "Board", SerialNumber: "0042"},
	Product: &FRUProduct{Name: "Server", Custom: []string{"blue"}},
}

func TestFRUAreas(t *testing.T) {
	data, err := server.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if data[0] != 1 || len(data)%8 != 0 || zeroSum(data[:8]) != 0 {
		t.Errorf("header % X", data[:8])
	}
	for place, want := range map[int]string{
		2: "17 C4 43482D31 C0 C1",
		3: "00 030201 C5 4D616B6572 C5 426F617264 C4 30303432 C0 C0 C1",
		4: "00 C0 C6 536572766572 C0 C0 C0 C0 C0 C4 626C7565 C1",
	} {
		area := data[int(data[place])*8:]
		area = area[:int(area[1])*8]
		body, err := hex.DecodeString(strings.ReplaceAll(want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if area[0] != 1 || zeroSum(area) != 0 || !bytes.HasPrefix(area[2:], body) {
			t.Errorf("area %d: % X", place, area)
		}
		if padding := area[2+len(body) : len(area)-1]; len(padding) >= 8 || strings.Trim(string(padding), "\x00") != "" {
			t.Errorf("area %d: padding % X", place, padding)
		}
	}
}
