package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// digitsOf splits a number that is written 44, 0x2C or 2Ch into its digits and their base.
func digitsOf(s string) (digits string, base int) {
	s = strings.ToLower(s)
	if hex, found := strings.CutPrefix(s, "0x"); found {
		return hex, 16
	}
	if hex, found := strings.CutSuffix(s, "h"); found {
		return hex, 16
	}
	return s, 10
}

// parseByte reads a number up to 255. A decimal number such as 010 is refused, because other
// programs read it as octal.
func parseByte(s string) (byte, error) {
	digits, base := digitsOf(s)
	v, err := strconv.ParseUint(digits, base, 8)
	switch {
	case err == nil && base == 10 && digits[0] == '0' && v > 7:
		return 0, usage("%q: is it octal or decimal? Write %d or 0x%02X", s, v, v)
	case err == nil:
		return byte(v), nil
	}
	if _, err := strconv.ParseUint(s, 16, 8); err == nil {
		return 0, usage("%q is no number; write it 0x%s", s, s)
	}
	return 0, usage("%q is no byte; write a number up to 255 as 44, 0x2C or 2Ch", s)
}

// parseData reads a byte from each word.
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

// parseAddress reads the address of a node.
func parseAddress(s string) (ipmi.Address, error) {
	v, err := parseByte(s)
	if err != nil {
		return 0, fmt.Errorf("address %w", err)
	}
	a := ipmi.Address(v)
	if !a.IsSlave() {
		return 0, usage("address %s: addresses are even, 02h to FEh: "+
			"the 8-bit form, 20h for a node at 10h in 7 bits", a)
	}
	return a, nil
}

// parseResponder reads the address of a node, or 0 for the bus's remote address.
func parseResponder(s string) (ipmi.Address, error) {
	if v, err := parseByte(s); err == nil && v == 0 {
		return 0, nil
	}
	return parseAddress(s)
}

// parseRequest reads [ADDR] NETFN CMD [DATA...]. If addr, the value of --addr, is not empty, there
// is no ADDR among the words. A responder of 0 is the bus's remote address.
func parseRequest(words []string, addr string) (ipmb.Request, error) {
	var r ipmb.Request
	var err error
	if addr != "" {
		r.Responder, err = parseResponder(addr)
	} else {
		switch asAddress, asNetFn := readAsAddress(words), readAsNetFn(words); {
		case asAddress == likely && asNetFn:
			err = usageError{&ambiguousError{words}}
		case asAddress == impossible, asNetFn:
		default:
			r.Responder, err = parseAddress(words[0])
			words = words[1:]
		}
	}
	if err != nil {
		return ipmb.Request{}, err
	}
	if r.NetFn, words, err = parseNetFn(words); err != nil {
		return ipmb.Request{}, err
	}
	if r.Command, err = ipmi.ParseCommand(r.NetFn, words[0]); err != nil {
		return ipmb.Request{}, usageError{err}
	}
	r.Data, err = parseData(words[1:])
	return r, err
}

// ambiguousError reports words of which the first can be an address or a network function.
type ambiguousError struct{ words []string }

// errAmbiguous is the kind of an ambiguousError.
var errAmbiguous = errors.New("ambiguous")

// Is is for errors.Is.
func (e *ambiguousError) Is(kind error) bool { return kind == errAmbiguous }

func (e *ambiguousError) Error() string {
	return e.words[0] + " can be an address or a network function"
}

// parseNetFn reads NETFN, and returns the words that follow it: at least one, CMD.
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

// How well words can be read in a way.
const (
	impossible = iota
	unlikely
	likely
)

// readAsAddress says how well the words can be ADDR NETFN CMD: likely if the command is one of the
// standard, or an OEM's.
func readAsAddress(words []string) int {
	if len(words) == 0 || !isNumberOfAddress(words[0]) {
		return impossible
	}
	if len(words) < 3 {
		return unlikely
	}
	n, err := ipmi.ParseNetFn(words[1])
	if err != nil {
		return unlikely
	}
	command, err := ipmi.ParseCommand(n, words[2])
	if err == nil && n < ipmi.NetFnGroup && ipmi.CommandName(n, command) == numbered(uint8(command)) {
		return unlikely
	}
	return likely
}

// readAsNetFn reports whether the words can be NETFN CMD DATA with a network function that the
// standard assigns: up to transport, and from the group extension on. Data of the latter begin
// with a defining body, those of the next one with an IANA number (IPMI v2.0, table 5-1). The body
// 01h, ASF, does not count: its messages go over RMCP, and 0x2c 6 1 is an address.
func readAsNetFn(words []string) bool {
	if len(words) < 2 {
		return false
	}
	n, err := ipmi.ParseNetFn(words[0])
	if err != nil || n > ipmi.NetFnTransport && n < ipmi.NetFnGroup {
		return false
	}
	if _, err = ipmi.ParseCommand(n, words[1]); err != nil {
		return false
	}
	data := words[2:]
	switch n {
	case ipmi.NetFnGroup:
		if len(data) == 0 {
			return false
		}
		body, err := parseByte(data[0])
		return err == nil && slices.Contains([]byte{0x00, 0x02, 0x03, 0xDC}, body) // PICMG, SSI, VITA, DCMI
	case ipmi.NetFnOEM:
		return len(data) >= 3
	}
	return true
}

// isNumberOfAddress reports whether a word is a number that I2C does not reserve (I2C-bus
// specification, table 4).
func isNumberOfAddress(word string) bool {
	v, err := parseByte(word)
	return err == nil && v >= uint8(allAddresses[0].from) && v <= uint8(allAddresses[0].to)+1
}

// seconds is a flag for a time: a number of seconds, or a number with a unit.
type seconds time.Duration

// Set implements pflag.Value.
func (s *seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if n, e := strconv.ParseFloat(text, 64); e == nil && n >= 0 && n <= math.MaxInt32 {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return errors.New("write a time in seconds, or with its unit: 5, 5s or 500ms")
	case d == 0: // is what a flag has that was not given
		return &strconv.NumError{Func: "Set", Num: text, Err: strconv.ErrRange}
	}
	*s = seconds(d)
	return nil
}

// String implements pflag.Value. The default 0, which help does not show, is "".
func (s *seconds) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type implements pflag.Value.
func (s *seconds) Type() string { return "time" }

// tries is a flag for a number of tries.
type tries int

// Set implements pflag.Value.
func (t *tries) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err == nil && (n < 1 || n > ipmb.MaxTries) {
		err = &strconv.NumError{Func: "Set", Num: text, Err: strconv.ErrRange}
	}
	if err == nil {
		*t = tries(n)
	}
	return err
}

// String implements pflag.Value.
func (t *tries) String() string { return strconv.Itoa(int(*t)) }

// Type implements pflag.Value.
func (t *tries) Type() string { return "int" }

// retryFlags are the flags --timeout and --tries.
type retryFlags struct {
	timeout time.Duration
	tries   int
}

// define adds the flags to a command. The values that f has are their defaults; 0 is the bus's
// own.
func (f *retryFlags) define(flags *pflag.FlagSet) {
	ofBus := ""
	if f.tries == 0 {
		ofBus = " (default the bus's)"
	}
	flags.Var((*seconds)(&f.timeout), "timeout", "`TIME` of each try, 10ms to 1m: 5 or 5s, 500ms"+ofBus)
	flags.Var((*tries)(&f.tries), "tries", "`NUMBER` of tries: 1 to 64"+ofBus)
}

func (f retryFlags) policy() (ipmb.RetryPolicy, error) {
	if f.timeout != 0 && (f.timeout < ipmb.MinTimeout || f.timeout > ipmb.MaxTimeout) {
		return ipmb.RetryPolicy{}, usage("--timeout is 10ms to 1m")
	}
	return ipmb.RetryPolicy{Tries: f.tries, Timeout: f.timeout}, nil
}

// noArgs refuses arguments.
func noArgs(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, not %q", command.Name(), args[0])
	}
	return nil
}

// needBus requires the name of a bus, and allows max arguments; any number if max is 0.
func needBus(max int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage("no bus; 'ipmbctl list' shows the buses")
		case max > 0 && len(args) > max:
			return usage("one bus at a time, not %d", len(args))
		}
		return nil
	}
}

// oneArg requires one argument. The text of the error has the verb %d for their number.
func oneArg(text string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(text, len(args))
		}
		return nil
	}
}

var oneEndpoint = oneArg("one name of a bus or a host interface, not %d")

// numbered is how package ipmi writes a number without a name.
func numbered(v uint8) string { return fmt.Sprintf("%02Xh", v) }
