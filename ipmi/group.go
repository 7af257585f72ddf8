package ipmi

// AnyGroup in a Pattern stands for every group; a request without a group
// matches nothing else.
const AnyGroup uint32 = 0xFFFF_FFFF

// Largest groups: a defining body's code is one byte, an IANA enterprise
// number on the wire three (IPMI v2.0, table 5-1).
const (
	maxBodyCode uint32 = 0xFF
	maxIANA     uint32 = 0xFF_FFFF
)

// Group is whose commands the request's netFn carries: the body code of netFn
// 2Ch (DCh for DCMI), the IANA enterprise number of netFn 2Eh. It is AnyGroup
// for other netFns and for a request too short to say.
func (r *Request) Group() uint32 {
	switch d := r.Data; {
	case r.NetFn == NetFnGroup && len(d) >= 1:
		return uint32(d[0])
	case r.NetFn == NetFnOEM && len(d) >= 3:
		return uint32(d[0]) | uint32(d[1])<<8 | uint32(d[2])<<16
	}
	return AnyGroup
}
