package bmc

import (
	"fmt"

	"ipmbd/ipmi"
)

// systemInfoCommands keep texts that system software sets (IPMI v2.0, sections 22.14a and
// 22.14b).
var systemInfoCommands = []command{
	{ipmi.NetFnApp, 0x58, 2, 2 + infoBlock, waits, setSystemInfo},
	{ipmi.NetFnApp, 0x59, 4, 4, atOnce, getSystemInfo},
}

const (
	infoOS        = 4  // parameter: the operating system that runs
	lastInfoText  = 7  // parameters 1 to 7 are texts
	infoBlock     = 16 // bytes of a text in a request
	maxInfoBlocks = 16 // of a text: its length is one byte
)

func infoSetting(host int, parameter, block byte) string {
	return hostSetting(host, fmt.Sprintf("system-info/%d/%d", parameter, block))
}

// setSystemInfo takes a parameter and its data: for a text, the number of a block and up to 16
// bytes of it. Block 0 begins with encoding and length.
func setSystemInfo(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, data := req.Data[0], req.Data[1:]
	switch {
	case parameter == parameterSetInProgress:
		return b.setProgress(hostSetting(req.Host, "system-info"), data)
	case parameter > lastInfoText:
		return refuse(codeNoParameter)
	case len(data) < 2:
		return refuse(ipmi.CodeLengthInvalid)
	case data[0] >= maxInfoBlocks:
		return refuse(ipmi.CodeParameterOutOfRange)
	}
	var block [infoBlock]byte
	copy(block[:], data[1:])
	return b.storeSetting(infoSetting(req.Host, parameter, data[0]), block[:]...)
}

// getSystemInfo takes parameter, number of a block and 00h. A text that was never set is empty.
func getSystemInfo(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, number := req.Data[1], req.Data[2]
	switch {
	case req.Data[0]&onlyRevision != 0:
		return answer(parameterRevision)
	case parameter == parameterSetInProgress:
		return answer(parameterRevision, b.progress(hostSetting(req.Host, "system-info")))
	case parameter > lastInfoText:
		return refuse(codeNoParameter)
	}
	block := b.journal.value(infoSetting(req.Host, parameter, number))
	if len(block) != infoBlock {
		if number != 0 {
			return refuse(ipmi.CodeParameterOutOfRange)
		}
		block = make([]byte, infoBlock)
	}
	return answer(append([]byte{parameterRevision, number}, block...)...)
}

// forgetOS makes the name of the operating system empty: it runs no more.
func (b *BMC) forgetOS(host int) error {
	name := infoSetting(host, infoOS, 0)
	if b.journal.value(name) == nil {
		return nil
	}
	return b.journal.write(putValue(name, make([]byte, infoBlock)...))
}
