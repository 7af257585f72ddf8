package client

import (
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// reply is what a method's reply says. One that is no answer shows nothing.
type reply struct {
	isAnswer bool
	code     ipmi.CompletionCode
	data     []byte
	failure  string
}

// errorText is the text of an error message, or its name.
func errorText(msg *dbus.Message) string {
	return dbus.Error{Name: header[string](msg, dbus.FieldErrorName), Body: msg.Body}.Error()
}

func readAnswer(body []any) (reply, error) {
	var code uint8
	r := reply{isAnswer: true}
	err := dbus.Store(body, &code, &r.data)
	r.code = ipmi.CompletionCode(code)
	return r, err
}

func readNothing([]any) (reply, error) { return reply{}, nil }

// readStatus reads the reply of org.openbmc.Ipmb.
func readStatus(body []any) (reply, error) {
	var answer struct {
		Status                    int32
		NetFn, LUN, Command, Code uint8
		Data                      []byte
	}
	if err := dbus.Store(body, &answer); err != nil {
		return reply{}, err
	}
	if status := ipmb.Status(answer.Status); status != ipmb.StatusOK {
		return reply{failure: fmt.Sprintf("status %d, %v", status, status)}, nil
	}
	return reply{isAnswer: true, code: ipmi.CompletionCode(answer.Code), data: answer.Data}, nil
}

// readExecute reads the reply of the host IPMI daemon.
func readExecute(body []any) (reply, error) {
	var answer struct {
		NetFn, LUN, Command, Code uint8
		Data                      []byte
	}
	err := dbus.Store(body, &answer)
	return reply{isAnswer: true, code: ipmi.CompletionCode(answer.Code), data: answer.Data}, err
}
