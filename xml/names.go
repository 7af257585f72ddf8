package xml

import "strings"

// Names of the service and its interfaces.
const (
	// ServiceName is the bus name of the service.
	ServiceName = ChannelNames + "Ipmb"
	// ChannelNames begins the bus names by which the host IPMI daemon finds channels.
	ChannelNames = "xyz.openbmc_project.Ipmi.Channel."
	// BasePath is the object of the whole service. Its children are the buses and the host
	// interfaces.
	BasePath = "/xyz/openbmc_project/Ipmi/Channel/Ipmb"

	LegacyInterface   = "org.openbmc.Ipmb"
	BusInterface      = "xyz.openbmc_project.Ipmi.Channel.Ipmb"
	RouterInterface   = "xyz.openbmc_project.Ipmi.Channel.Ipmb.Router"
	HandlerInterface  = "xyz.openbmc_project.Ipmi.Channel.Ipmb.Handler"
	HostInterface     = "xyz.openbmc_project.Ipmi.Channel.Ipmb.Host"
	ManagerInterface  = "xyz.openbmc_project.Ipmi.Channel.Ipmb.Manager"
	SMSInterface      = "xyz.openbmc_project.Ipmi.Channel.SMS"
	HostIPMIInterface = "org.openbmc.HostIpmi"

	IntrospectableInterface = "org.freedesktop.DBus.Introspectable"
	PropertiesInterface     = "org.freedesktop.DBus.Properties"
	ObjectManagerInterface  = "org.freedesktop.DBus.ObjectManager"
	PeerInterface           = "org.freedesktop.DBus.Peer"
)

// ObjectPath is the path of a bus or a host interface of a name: D-Bus allows no "-" there.
func ObjectPath(name string) string { return BasePath + "/" + strings.ReplaceAll(name, "-", "_") }

// The method by which other programs answer requests, and the host IPMI daemon, which
// serves it (phosphor-host-ipmid, ipmid-new.cpp).
const (
	ExecuteInterface = "xyz.openbmc_project.Ipmi.Server"
	ExecuteMember    = "execute"
	ExecuteIn        = "yyyaya{sv}"
	ExecuteOut       = "(yyyyay)"

	HostDaemonName = "xyz.openbmc_project.Ipmi.Host"
	HostDaemonPath = "/xyz/openbmc_project/Ipmi"

	// MaxExecutes is how many calls of execute the handlers of one program get at a time.
	MaxExecutes = 16
)

// Names of errors (phosphor-dbus-interfaces, xyz/openbmc_project/Common; D-Bus
// specification).
const (
	ErrorTimeout         = "xyz.openbmc_project.Common.Error.Timeout"
	ErrorUnavailable     = "xyz.openbmc_project.Common.Error.Unavailable"
	ErrorNotFound        = "xyz.openbmc_project.Common.Error.ResourceNotFound"
	ErrorTooMany         = "xyz.openbmc_project.Common.Error.TooManyResources"
	ErrorInvalidArgument = "xyz.openbmc_project.Common.Error.InvalidArgument"
	ErrorNotAllowed      = "xyz.openbmc_project.Common.Error.NotAllowed"
	ErrorUnsupported     = "xyz.openbmc_project.Common.Error.UnsupportedRequest"
	ErrorInternal        = "xyz.openbmc_project.Common.Error.InternalFailure"
	ErrorWriteFailure    = "xyz.openbmc_project.Common.Device.Error.WriteFailure"
	ErrorAccessDenied    = "org.freedesktop.DBus.Error.AccessDenied"
	ErrorInvalidArgs     = "org.freedesktop.DBus.Error.InvalidArgs"
	ErrorLimits          = "org.freedesktop.DBus.Error.LimitsExceeded"
	ErrorNoOwner         = "org.freedesktop.DBus.Error.NameHasNoOwner"
)

// IsNameElement reports whether s can be the last element of a bus name that begins with
// ChannelNames (D-Bus specification, "Bus names").
func IsNameElement(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '-':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != "" && len(ChannelNames)+len(s) <= 255
}
