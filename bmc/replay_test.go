package bmc

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipmbd/ipmi"
)

// Linux, its watchdog, poweroff and panic code, and ipmitool have sent these
// requests, each at its time in seconds, through QEMU's KCS, BT and SSIF. A line is
// time, netFn, command, data in brackets, and the answer.
func TestRequestsOfHosts(t *testing.T) {
	files, err := filepath.Glob("testdata/hosts/*.txt")
	if err != nil || len(files) != 8 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		runs(t, strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T, r *rig) {
			r.bmc.config.GUID = [16]byte{0: 0x0F, 15: 0xF0}
			r.bmc.frus, _ = newFRUs([]FRUConfig{{Name: "Board"}}, r.bmc.journal)
			replay(r, file)
		})
	}
}

func replay(r *rig, file string) {
	text, err := os.Open(file)
	if err != nil {
		r.t.Fatal(err)
	}
	defer text.Close()
	start := time.Now()
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		request, want, _ := strings.Cut(lines.Text(), " > ")
		head, data, _ := strings.Cut(strings.Trim(request, "]"), " [")
		var at float64
		var netFn ipmi.NetFn
		var cmd ipmi.Command
		if _, err := fmt.Sscanf(head, "%f %x %x", &at, &netFn, &cmd); err != nil {
			r.t.Fatalf("%q: %v", lines.Text(), err)
		}
		time.Sleep(time.Until(start.Add(time.Duration(at * float64(time.Second)))))
		r.is(request, r.on(host0, 0, netFn, cmd, data), want)
	}
	if err := lines.Err(); err != nil {
		r.t.Fatal(err)
	}
}
