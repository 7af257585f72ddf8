package dbusapi

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// causes are errors and what the document of the API says of them.
var causes = []struct {
	err   error
	cause string
}{
	{ErrNoAdapter, "`bind` on an I2C bus that there is not"},
	{ErrInUse, "an address or a node that is in use"},
	{ErrFixed, "the device is a socket, or declared by the firmware"},
	{ErrDevice, "the driver did not take the device"},

	{ipmb.ErrTimeout, "took the request and the responder stayed silent"},
	{ipmb.ErrNotAcknowledged, "nobody acknowledged the request"},
	{ipmb.ErrArbitrationLost, "another master kept the bus"},
	{ipmb.ErrStuck, "the bus is stuck"},
	{ipmb.ErrTooLong, "the request, or the answer, is too long for a frame"},
	{ipmb.ErrClosed, "the bus is Down"},
	{ipmb.ErrBusy, "no sequence number became free in time"},
	{ipmb.ErrInvalid, "an argument is out of range"},
	{ipmb.ErrAnswered, "`sendResponse` to a request that is answered already"},
	{ipmb.ErrUnsupported, "the driver cannot do that"},

	{ErrLimit, "a limit of calls"},
	{bus.ErrLimit, "a limit of calls"},
	{errUnknownChannel, "No channel has the index"},
	{errUnknownID, "`sendResponse`: no request waits under the id"},
	{errNotAnswered, "on a bus whose handler is not `signal`"},
	{errGone, "the service is stopping"},
	{ErrDisconnected, "has lost the message bus"},
	{bus.ErrRemoved, "has been removed"},

	{errNotRoot, "is not root and calls `Manager`"},
	{ErrConfig, "`AddBus`, `AddHost`, `Reload`: a line for each fault"},
	{ErrTaken, "an index, device or name is taken"},
	{ErrNameTaken, "name is taken"},
	{ErrNoMember, "`RemoveBus`, `RemoveHost` of what is not there"},
	{ErrRestart, "only a restart can change that"},
	{ErrNoFile, "`Reload` without a file"},
	{ErrStopping, "the service is stopping"},

	{&ipmi.OverlapError{}, "of what somebody serves"},
	{&ipmi.PatternError{}, "one that there cannot be"},
	{errRegistered, "`RegisterHandler` of a path that is registered"},
	{errNotRegistered, "`UnregisterHandler` of what is not registered"},
	{errNoCommands, "`RegisterHandler`: no commands"},
	{errLongPath, "too long a path"},
	{errTooMany, "handlers, commands or subscribers is reached"},

	{ipmi.ErrNoHandler, "nobody serves the command"},
	{ipmi.ErrBusy, "a limit of calls, requests"},
	{ipmi.ErrDenied, "a command that the policy denies"},
	{ipmi.ErrAbsent, "who serves the command is not running"},
	{ipmi.ErrGone, "or stopped while it did"},
	{ipmi.ErrTooSlow, "who serves the command did not answer in time"},
	{ipmi.ErrNoSpace, "there is no space left"},
	{ipmi.ErrAnswerTooLong, "or the answer, is too long for a frame"},
	{ipmi.ErrCannot, "there is no way to do that here"},
	{ipmi.ErrPanic, "what should not be"},

	{context.DeadlineExceeded, "what the call had to wait for took too long"},
	{context.Canceled, "the call was ended"},
}

func TestEveryErrorHasItsCauseInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/dbus.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // causes by name
	for _, row := range regexp.MustCompile("(?m)^\\| `([\\w.]+)`.* \\| (.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = row[2]
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
