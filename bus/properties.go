package bus

import (
	"path"
	"strings"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Properties is what a bus shows of itself. It is comparable.
type Properties struct {
	Name      string // as in the configuration
	Device    string // path of the device or socket
	Transport string
	Channel   ipmi.Channel
	Index     uint8 // devIndex<<2 | type

	OwnAddress    ipmi.Address
	RemoteAddress ipmi.Address
	State         State
	Reason        string // of State, a sentence; "" when Up
	Handler       string // "host", "signal", "bmc" or "none"
	Policy        ipmb.RetryPolicy

	// IgnoreNACK: frames are sent to their end even if nobody takes them.
	IgnoreNACK bool
	// VerifyChecksum: the driver checks the header checksum of what it receives.
	VerifyChecksum bool
}

// Number is the number of the I2C bus in the path of a device, as digits: those after the
// first '-' of the whole path, as ipmbbridge takes them ("/dev/ipmb-4" has "4"). In the path
// of an attribute in sysfs, which ipmbbridge does not have, the number begins the folder:
// ".../4-1010/slave-mqueue" has "4". Number is empty if there are no digits in that place.
func Number(device string) string {
	_, digits, _ := strings.Cut(device, "-")
	if folder, last := path.Split(device); last == mqueueAttribute {
		digits = path.Base(folder)
	}
	return digits[:len(digits)-len(strings.TrimLeft(digits, "0123456789"))]
}

// mqueueAttribute is the last part of the paths of the driver i2c-slave-mqueue.
const mqueueAttribute = "slave-mqueue"
