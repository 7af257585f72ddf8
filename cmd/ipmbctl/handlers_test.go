package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
)

func TestHandlersForPeopleAndPrograms(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.begin(t, 1, "respond", "app", "get-device-id")
	r.begin(t, 1, "respond", "--channels", "0,6", "--iana", "343", "oem", "1", "2", "--exec", "true")
	owners := r.owners(t)

	var texts []string
	for _, owner := range owners {
		texts = append(texts, fmt.Sprintf("%s (process %d)", owner, os.Getpid()))
	}
	width := max(len(texts[0]), len(texts[1]))
	want := strings.NewReplacer(
		"OWNER", fmt.Sprintf("%-*s", width, "OWNER"),
		"FIRST", fmt.Sprintf("%-*s", width, texts[0]),
		"SECOND", fmt.Sprintf("%-*s", width, texts[1])).Replace(`
OWNER  PATH                               COMMANDS
FIRST  /xyz/openbmc_project/Ipmi/Handler  app get-device-id on all channels
SECOND  /xyz/openbmc_project/Ipmi/Handler  oem IANA 343 01h on channels 0, 6
SECOND  /xyz/openbmc_project/Ipmi/Handler  oem IANA 343 02h on channels 0, 6

BUS   HANDLER  ANSWERS ALL OTHER REQUESTS
bus0  host     the host IPMI daemon
me1   none     nobody: C1h invalid command
`)[1:]
	got := r.ipmbctl(t, "handlers")
	if diff := (result{stdout: want}).diff(got); diff != "" {
		t.Error(diff)
	}

	want = fmt.Sprintf(`{"handlers":[`+
		`{"owner":"%s","process":%d,"path":"/xyz/openbmc_project/Ipmi/Handler","patterns":[`+
		`{"netFn":6,"command":1,"channelMask":4294967295,"text":"app get-device-id on all channels"}]},`+
		`{"owner":"%s","process":%[2]d,"path":"/xyz/openbmc_project/Ipmi/Handler","patterns":[`+
		`{"netFn":46,"command":1,"group":343,"channelMask":65,"text":"oem IANA 343 01h on channels 0, 6"},`+
		`{"netFn":46,"command":2,"group":343,"channelMask":65,"text":"oem IANA 343 02h on channels 0, 6"}]}],`+
		`"buses":[{"bus":"bus0","handler":"host"},{"bus":"me1","handler":"none"}]}`+"\n", owners[0], os.Getpid(), owners[1])
	got = r.ipmbctl(t, "handlers", "--json")
	if diff := (result{stdout: want}).diff(got); diff != "" || !json.Valid([]byte(got.stdout)) {
		t.Error(diff)
	}
}

func TestHandlerOfAProcessThatIsNotKnown(t *testing.T) {
	if got := ownerText(client.Handler{Owner: ":1.5"}); got != ":1.5" {
		t.Errorf("%q", got)
	}
}
