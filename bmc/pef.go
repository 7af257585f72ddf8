package bmc

import "ipmbd/ipmi"

// pefCommands say that events are filtered by nobody (IPMI v2.0, section 30).
var pefCommands = []command{
	{ipmi.NetFnSensor, 0x10, 0, 0, atOnce(getPEFCapabilities)},
	{ipmi.NetFnSensor, 0x12, 1, 1 + filterLength, atOnce(setPEF)},
	{ipmi.NetFnSensor, 0x13, 3, 3, atOnce(getPEF)},
}

const (
	pefVersion = 0x51 // 1.5, BCD with the major digit in bits 3:0
	pefSet     = "pef"
	// filterLength is that of the longest parameter, a filter with its number.
	filterLength = 21
)

// getPEFCapabilities: version, actions and filters that there are.
func getPEFCapabilities(*BMC, *ipmi.Request) ipmi.Response {
	return answer(pefVersion, 0, 0)
}

// setPEF takes parameter and data.
func setPEF(b *BMC, req *ipmi.Request) ipmi.Response {
	switch parameter := req.Data[0]; {
	case parameter&^parameterSelector != 0:
		return refuse(ipmi.CodeInvalidField)
	case parameter != parameterSetInProgress:
		return refuse(codeNoParameter)
	}
	return b.setProgress(pefSet, req.Data[1:])
}

// getPEF takes parameter, set and block selector.
func getPEF(b *BMC, req *ipmi.Request) ipmi.Response {
	switch parameter := req.Data[0]; {
	case parameter&onlyRevision != 0:
		return answer(parameterRevision)
	case parameter != parameterSetInProgress:
		return refuse(codeNoParameter)
	}
	return answer(parameterRevision, b.progress(pefSet))
}
