package service

import (
	"fmt"
	"os"

	"ipmbd/i2c"
)

// openChannel is the opener of a channel. TransportAuto is decided when it
// opens, by what is at the path then.
func openChannel(ch ChannelConfig) opener {
	return func() (i2c.Transport, string, error) {
		kind := ch.Transport
		if kind == TransportAuto {
			var err error
			if kind, err = kindOf(ch.SlavePath); err != nil {
				return nil, kind.String(), err
			}
		}
		open := i2c.OpenIPMBDev
		if kind == TransportSeqPacket {
			open = i2c.OpenSeqpacket
		}
		t, err := open(ch.SlavePath)
		return t, kind.String(), err
	}
}

// kindOf tells the transport by the kind of file at path.
func kindOf(path string) (TransportKind, error) {
	info, err := os.Stat(path)
	if err != nil {
		return TransportAuto, err
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		return TransportSeqPacket, nil
	case mode&os.ModeCharDevice != 0:
		return TransportIPMBDev, nil
	}
	return TransportAuto, fmt.Errorf("%s: neither a character device nor a socket", path)
}
