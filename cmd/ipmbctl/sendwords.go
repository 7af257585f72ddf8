package main

import (
	"fmt"
	"strings"

	"ipmbd/ipmi"
)

// message is a request as the command line gives it.
type message struct {
	responder ipmi.Address // 0 is the bus's remote address
	netFn     ipmi.NetFn
	command   ipmi.Command
	data      []byte
}

// parseMessage reads [ADDR] NETFN CMD [DATA...] or, when addr, the value of
// --addr, is not empty, NETFN CMD [DATA...].
func parseMessage(words []string, addr string) (message, error) {
	var m message
	var err error
	switch {
	case addr != "":
		m.responder, err = parseResponder(addr)
	case startsWithAddress(words) && startsWithNetFn(words):
		err = ambiguous(words)
	case startsWithAddress(words), !startsWithNetFn(words) && isNumberOfAddress(words):
		m.responder, err = parseAddress(words[0])
		words = words[1:]
	}
	if err != nil {
		return message{}, err
	}
	if m.netFn, words, err = parseNetFn(words); err != nil {
		return message{}, err
	}
	if m.command, err = ipmi.ParseCommand(m.netFn, words[0]); err != nil {
		return message{}, usageError{err}
	}
	m.data, err = parseData(words[1:])
	return m, err
}

// parseNetFn takes NETFN off words that have a CMD behind it.
func parseNetFn(words []string) (n ipmi.NetFn, rest []string, err error) {
	if len(words) == 0 {
		return 0, nil, usage("no network function and no command")
	}
	if n, err = ipmi.ParseNetFn(words[0]); err != nil {
		return 0, nil, usageError{err}
	}
	if len(words) == 1 {
		return 0, nil, usage("no command after network function %s", n)
	}
	return n, words[1:], nil
}

// parseResponder is parseAddress that knows 0 as the bus's remote address.
func parseResponder(s string) (ipmi.Address, error) {
	if v, err := parseByte(s); err == nil && v == 0 {
		return 0, nil
	}
	return parseAddress(s)
}

func parseData(words []string) ([]byte, error) {
	data := make([]byte, 0, len(words))
	for i, word := range words {
		v, err := parseByte(word)
		if err != nil {
			return nil, fmt.Errorf("data byte %d: %w", i+1, err)
		}
		data = append(data, v)
	}
	return data, nil
}

// startsWithAddress reports whether the words can be ADDR NETFN CMD.
func startsWithAddress(words []string) bool {
	if len(words) < 3 || !isNumberOfAddress(words) {
		return false
	}
	_, err := ipmi.ParseNetFn(words[1])
	return err == nil
}

// startsWithNetFn reports whether the words can be NETFN CMD.
func startsWithNetFn(words []string) bool {
	if len(words) < 2 {
		return false
	}
	n, err := ipmi.ParseNetFn(words[0])
	if err != nil || !isAssigned(n) {
		return false
	}
	_, err = ipmi.ParseCommand(n, words[1])
	return err == nil
}

// isNumberOfAddress reports whether the first word is a number that I2C does
// not reserve (I2C-bus specification, table 4).
func isNumberOfAddress(words []string) bool {
	const firstAddress = 0x10
	if len(words) == 0 {
		return false
	}
	v, err := parseByte(words[0])
	return err == nil && v >= firstAddress
}

// isAssigned reports whether the standard knows a network function (IPMI v2.0,
// table 5-1): up to transport, and from the group extension on.
func isAssigned(n ipmi.NetFn) bool { return n <= ipmi.NetFnTransport || n >= ipmi.NetFnGroup }

func ambiguous(words []string) error {
	all := strings.Join(words, " ")
	return usage(`%s can be an address or a network function; say which it is:
  the address:           ipmbctl send BUS --addr %s
  the network function:  ipmbctl send BUS --addr 0 %s
where 0 is the bus's remote address`, words[0], all, all)
}
