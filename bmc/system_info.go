package bmc

import (
	"fmt"
	"slices"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// systemInfoCommands keep texts that system software sets (IPMI v2.0, sections 22.14a and
// 22.14b).
var systemInfoCommands = []command{
	{ipmi.NetFnApp, 0x58, 2, 2 + infoBlock, waits, setSystemInfo},
	{ipmi.NetFnApp, 0x59, 4, 4, atOnce, getSystemInfo},
}

const (
	lastInfoText  = 7  // parameters 1 to 7 are texts
	infoBlock     = 16 // bytes of a text in a request
	maxInfoBlocks = 16 // of a text

	// Block 0 begins with the encoding and the length of the text.
	infoHeader      = 2
	encodingLatin1  = 0 // with ASCII; then UTF-8
	encodingUnicode = 2 // the last one
	maxInfoText     = maxInfoBlocks*infoBlock - infoHeader
)

// volatileInfo are the texts about the operating system that runs: its name, its version, and the
// URL of its management (table 22-16c). They end with the process, with a Cold Reset, and with a
// reset or power loss of the host.
var volatileInfo = [...]bool{4: true, 5: true, lastInfoText: true}

// infoKey is a block of a text of a host.
type infoKey struct{ parameter, block byte }

func infoSetting(host int, parameter, block byte) string {
	return hostSetting(host, fmt.Sprintf("system-info/%d/%d", parameter, block))
}

// setSystemInfo takes a parameter and its data: for a text, the number of a block and up to 16
// bytes of it.
func setSystemInfo(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, data := req.Data[0], req.Data[1:]
	switch {
	case parameter == parameterSetInProgress:
		return b.setProgress(hostSetting(req.Host, "system-info"), req.Host, data)
	case parameter > lastInfoText:
		return refuse(codeNoParameter)
	case len(data) < 2:
		return refuse(ipmi.CodeLengthInvalid)
	case data[0] >= maxInfoBlocks:
		return refuse(ipmi.CodeParameterOutOfRange)
	case data[0] == 0 && !isInfoHeader(data[1:]):
		return refuse(ipmi.CodeInvalidField)
	}
	var block [infoBlock]byte
	copy(block[:], data[1:])
	if b.hasControl(req.Host, parameter, data[0], block) {
		return refuse(ipmi.CodeInvalidField)
	}
	if !volatileInfo[parameter] {
		return b.storeSetting(infoSetting(req.Host, parameter, data[0]), block[:]...)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host(req.Host).info[infoKey{parameter, data[0]}] = block
	return answer()
}

// isInfoHeader reports whether block 0 begins with an encoding that exists, and with a length that
// the blocks have room for.
func isInfoHeader(block []byte) bool {
	return block[0] <= encodingUnicode && (len(block) < infoHeader || block[1] <= maxInfoText)
}

// hasControl reports whether a block of a text has control characters. Block 0 says how far the
// text reaches, and in which encoding; characters of Unicode have two bytes, of which each may have
// any value. Zeros may be in a text, between its parts (table 22-16c).
func (b *BMC) hasControl(host int, parameter, number byte, block [infoBlock]byte) bool {
	header, begin := block[:], infoHeader
	if number > 0 {
		header, begin = b.infoBlock(host, parameter, 0), 0
	}
	if len(header) != infoBlock || header[0] == encodingUnicode {
		return false
	}
	end := infoHeader + int(header[1]) - int(number)*infoBlock
	return slices.ContainsFunc(block[begin:max(begin, min(end, infoBlock))], func(c byte) bool {
		return c != 0 && record.IsControl(c) && (c <= 0x7F || header[0] == encodingLatin1)
	})
}

// getSystemInfo takes parameter, number of a block and 00h. A text that was never set is empty.
func getSystemInfo(b *BMC, req *ipmi.Request) ipmi.Response {
	parameter, number := req.Data[1], req.Data[2]
	switch {
	case req.Data[0]&^onlyRevision != 0, req.Data[3] != 0, parameter == parameterSetInProgress && number != 0:
		return refuse(ipmi.CodeInvalidField)
	case req.Data[0] == onlyRevision:
		return answer(parameterRevision)
	case parameter == parameterSetInProgress:
		return answer(parameterRevision, b.progress(hostSetting(req.Host, "system-info")))
	case parameter > lastInfoText:
		return refuse(codeNoParameter)
	}
	block := b.infoBlock(req.Host, parameter, number)
	if len(block) != infoBlock {
		if number != 0 {
			return refuse(ipmi.CodeParameterOutOfRange)
		}
		block = make([]byte, infoBlock)
	}
	return answer(append([]byte{parameterRevision, number}, block...)...)
}

// infoBlock is a block of a text as it was set, or nil.
func (b *BMC) infoBlock(host int, parameter, number byte) []byte {
	if !volatileInfo[parameter] {
		return b.journal.value(infoSetting(host, parameter, number))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if block, ok := b.host(host).info[infoKey{parameter, number}]; ok {
		return block[:]
	}
	return nil
}
