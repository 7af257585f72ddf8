package dbusapi

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The table of commands that may carry a secret is the one of package ipmi.
func TestSecretsInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/dbus.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Secrets\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `(..h)`.* \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
		for _, cmd := range strings.Fields(row[2]) {
			documented[row[1]+" "+cmd] = true
		}
	}
	want := make(map[string]bool)
	for _, p := range ipmi.SecretPatterns() {
		want[fmt.Sprintf("%02Xh %02Xh", uint8(p.NetFn), uint8(p.Command))] = true
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Error(diff)
	}
}

// causes are errors and their causes in the document of the API.
var causes = []struct {
	err   error
	cause string
}{
	{bus.ErrNoAdapter, "`bind` on an I2C bus that does not exist"},
	{bus.ErrInUse, "an address or a node that is in use"},
	{bus.ErrFixed, "the device is a socket, or declared by the firmware"},
	{bus.ErrDevice, "the driver did not take the device"},

	{ipmb.ErrTimeout, "took the request and the responder stayed silent"},
	{ipmb.ErrNotAcknowledged, "no node acknowledged the request"},
	{ipmb.ErrArbitrationLost, "another master kept the bus"},
	{ipmb.ErrStuck, "the bus is stuck"},
	{ipmb.ErrTooLong, "the request, or the response, is too long for a frame"},
	{ipmb.ErrClosed, "the bus is Down"},
	{ipmb.ErrBusy, "no sequence number became free in time"},
	{ipmb.ErrInvalid, "an argument is out of range"},
	{ipmb.ErrAnswered, "`sendResponse` to a request that is answered already"},
	{ipmb.ErrUnsupported, "the driver cannot do that"},

	{ErrLimit, "a limit of calls"},
	{bus.ErrLimit, "a limit of calls"},
	{errUnknownChannel, "No channel has the index"},
	{errUnknownID, "`sendResponse`: no request waits under the id"},
	{errNotBySignal, "on a bus whose handler is not `signal`"},
	{errGone, "the service is stopping"},
	{dbuswire.ErrDisconnected, "has lost the message bus"},
	{bus.ErrRemoved, "has been removed"},

	{errNotRoot, "is not root and calls `Manager`"},
	{bus.ErrNoRemote, "the request names no responder, and the bus has no remote address"},
	{errSecretPattern, "`RegisterHandler` of a command that may carry a secret"},
	{ErrConfig, "`AddBus`, `AddHost`, `Reload`: a line for each fault"},
	{ErrTaken, "an index, device or name is taken"},
	{ErrNameTaken, "name is taken"},
	{ErrNoEndpoint, "`RemoveBus`, `RemoveHost` of an object that does not exist"},
	{ErrRestart, "only a restart can change that"},
	{ErrNoFile, "`Reload` without a file"},
	{ErrStopping, "the service is stopping"},

	{&ipmi.OverlapError{}, "of a command that another program serves"},
	{&ipmi.PatternError{}, "an impossible command"},
	{errRegistered, "`RegisterHandler` of a path that is registered"},
	{errNotRegistered, "`UnregisterHandler` of a path that is not registered"},
	{errNoCommands, "`RegisterHandler`: no commands"},
	{errLongPath, "too long a path"},
	{errTooMany, "handlers, commands or subscribers is reached"},

	{ipmi.ErrNoHandler, "no program serves the command"},
	{ipmi.ErrBusy, "a limit of calls, requests"},
	{ipmi.ErrDenied, "a command that the policy denies"},
	{ipmi.ErrNotPresent, "the handler of the command is not running"},
	{ipmi.ErrAbandoned, "or stopped during the request"},
	{ipmi.ErrTooSlow, "the handler of the command did not answer in time"},
	{ipmi.ErrNoSpace, "there is no space left"},
	{ipmi.ErrResponseTooLong, "or the response, is too long for a frame"},
	{ipmi.ErrUnsupported, "the platform has no means for that"},
	{ipmi.ErrPanic, "a defect of ipmbd"},

	{context.DeadlineExceeded, "a resource that the call had to wait for took too long"},
	{context.Canceled, "the call was cancelled"},
}

func TestEveryErrorHasItsCauseInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/dbus.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // causes by name
	entry := regexp.MustCompile("(?m)^- `([\\w.]+)`[^:]*:((?:.*\n)(?:  .*\n)*)")
	for _, found := range entry.FindAllStringSubmatch(string(text), -1) {
		documented[found[1]] = strings.Join(strings.Fields(found[2]), " ")
	}
	explained := make([]bool, len(errorNames))
	for _, c := range causes {
		for i, row := range errorNames {
			if !row.matches(c.err) {
				continue
			}
			explained[i] = true
			if !strings.Contains(documented[row.name], c.cause) {
				t.Errorf("%s is not for %q in the document, but for:\n%s", row.name, c.cause, documented[row.name])
			}
			break
		}
	}
	for i, row := range errorNames {
		if !explained[i] {
			t.Errorf("row %d, %s %q: which cause is that?", i+1, row.name, row.text)
		}
	}
}
