package dbusapi

import (
	"context"

	"github.com/godbus/dbus/v5"

	"ipmbd/xml"
)

// SMS is what others may do at a host interface (openbmc/kcsbridge).
type SMS interface {
	// SetAttention shows the host whether messages wait for it.
	SetAttention(ctx context.Context, raised bool) error
	// ForceAbort ends the host's request; the host starts anew.
	ForceAbort(ctx context.Context) error
}

// channelsPath is the parent of the objects of channels on connections of their
// own.
const channelsPath = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Channel")

// exportSMS makes the object on the interface's connection, and the paths that
// lead to it.
func (o *HostObject) exportSMS(s *Server, sms SMS) {
	path := channelsPath + "/" + dbus.ObjectPath(o.word)
	o.objects.add(newObject(s, rootPath))
	for _, path := range ancestors(path) {
		o.objects.add(newObject(s, path))
	}
	var interfaces []string
	if sms != nil {
		interfaces = []string{xml.SMSInterface}
	}
	exported := newObject(s, path, interfaces...)
	exported.sms = sms
	o.objects.add(exported)
}

// setAttention, clearAttention and forceAbort serve
// xyz.openbmc_project.Ipmi.Channel.SMS.
func setAttention(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.sms.SetAttention(ctx, true)
}

func clearAttention(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.sms.SetAttention(ctx, false)
}

func forceAbort(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.sms.ForceAbort(ctx)
}

// smsReply is the one error that kcsbridge has.
func smsReply(error) ([]any, error) {
	return nil, &dbus.Error{Name: xml.ErrorInternal, Body: []any{"the host interface did not do it: see its State, and the journal of ipmbd"}}
}
