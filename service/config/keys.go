package config

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"ipmbd/ipmi"
)

// topKeys are the keys of the file's object.
var topKeys = setters[Config]{
	// The channels themselves are read one by one: a lenient reader leaves out
	// those that have faults. The hosts are of two types.
	"channels": func(r *reader, n node, key string, _ *Config) { r.want(n, key, kindArray) },
	"hosts":    func(r *reader, n node, key string, _ *Config) { r.want(n, key, kindArray) },
	"max-calls-per-sender": func(r *reader, n node, key string, c *Config) {
		r.count(n, key, &c.MaxCallsPerSender)
	},
	"frame-socket":  func(r *reader, n node, key string, c *Config) { r.text(n, key, &c.FrameSocket) },
	"trusted-names": func(r *reader, n node, key string, c *Config) { r.texts(n, key, &c.TrustedNames) },
	"policy":        func(r *reader, n node, key string, c *Config) { list(r, n, key, policyKeys, &c.Policy) },
	"bmc":           func(r *reader, n node, key string, c *Config) { object(r, n, key, bmcKeys, &c.BMC) },
}

// channelKeys are the keys of one channel.
var channelKeys = setters[Channel]{
	"type": func(r *reader, n node, key string, c *Channel) {
		choose(r, n, key, channelTypes, &c.Type)
	},
	"slave-path":  func(r *reader, n node, key string, c *Channel) { r.text(n, key, &c.SlavePath) },
	"bmc-addr":    func(r *reader, n node, key string, c *Channel) { r.address(n, key, &c.BMCAddress) },
	"remote-addr": func(r *reader, n node, key string, c *Channel) { r.address(n, key, &c.RemoteAddress) },
	"devIndex": func(r *reader, n node, key string, c *Channel) {
		r.integer(n, key, 0, math.MaxInt32, &c.DevIndex)
	},
	"name": func(r *reader, n node, key string, c *Channel) { r.text(n, key, &c.Name) },
	"transport": func(r *reader, n node, key string, c *Channel) {
		choose(r, n, key, transportKinds, &c.Transport)
	},
	"ignore-nack": func(r *reader, n node, key string, c *Channel) { r.boolean(n, key, &c.IgnoreNACK) },
	"verify-header-checksum": func(r *reader, n node, key string, c *Channel) {
		r.boolean(n, key, &c.VerifyChecksum)
	},
	"ipmi-channel": func(r *reader, n node, key string, c *Channel) {
		r.channel(n, key, &c.IPMIChannel)
	},
	"bus-name":   func(r *reader, n node, key string, c *Channel) { r.text(n, key, &c.BusName) },
	"timeout-ms": func(r *reader, n node, key string, c *Channel) { r.milliseconds(n, key, 1, &c.Timeout) },
	"tries":      func(r *reader, n node, key string, c *Channel) { r.count(n, key, &c.Tries) },
	"duplicate-window-ms": func(r *reader, n node, key string, c *Channel) {
		if r.milliseconds(n, key, 0, &c.DuplicateWindow); c.DuplicateWindow == 0 {
			c.DuplicateWindow = -1
		}
	},
	"handler-timeout-ms": func(r *reader, n node, key string, c *Channel) {
		r.milliseconds(n, key, 1, &c.HandlerTimeout)
	},
	"handler": func(r *reader, n node, key string, c *Channel) {
		choose(r, n, key, handlerKinds, &c.Handler)
	},
	"bridge":       func(r *reader, n node, key string, c *Channel) { r.boolean(n, key, &c.Bridge) },
	"max-frame":    func(r *reader, n node, key string, c *Channel) { r.count(n, key, &c.MaxFrame) },
	"max-calls":    func(r *reader, n node, key string, c *Channel) { r.count(n, key, &c.MaxCalls) },
	"max-handlers": func(r *reader, n node, key string, c *Channel) { r.count(n, key, &c.MaxHandlers) },
}

// text reads a string. An empty one would look like the default.
func (r *reader) text(n node, key string, into *string) {
	if !r.want(n, key, kindString) {
		return
	}
	if n.text == "" {
		r.fault(n, key, "must not be empty")
		return
	}
	*into = n.text
}

func (r *reader) texts(n node, key string, into *[]string) {
	if !r.want(n, key, kindArray) {
		return
	}
	for i, element := range n.items {
		var text string
		r.places[item(key, i)] = element
		r.text(element, item(key, i), &text)
		*into = append(*into, text)
	}
}

func (r *reader) boolean(n node, key string, into *bool) {
	if r.want(n, key, kindBoolean) {
		*into = n.text == "true"
	}
}

// choose reads one of the words; a word's place is its constant.
func choose[T ~uint8](r *reader, n node, key string, words []string, into *T) {
	for i, word := range words {
		if n.kind == kindString && n.text == word {
			*into = T(i)
			return
		}
	}
	r.fault(n, key, wanted(words))
}

// integer reads a whole number: a JSON number, or a string that holds one in
// decimal or, after 0x, in hexadecimal, as some platforms' files have it.
func (r *reader) integer(n node, key string, low, high int, into *int) {
	value, ok := wholeNumber(n)
	switch {
	case !ok:
		r.fault(n, key, `must be a whole number, or one in a string such as "0x20"`)
	case value < int64(low):
		r.fault(n, key, "must be at least "+strconv.Itoa(low))
	case value > int64(high):
		r.fault(n, key, "must be at most "+strconv.Itoa(high))
	default:
		*into = int(value)
	}
}

func wholeNumber(n node) (int64, bool) {
	base, digits := 10, n.text
	switch n.kind {
	case kindNumber:
	case kindString:
		if hex, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
			base, digits = 16, hex
		} else if len(digits) > 1 && digits[0] == '0' {
			return 0, false // octal to some, decimal to others
		}
		if digits == "" || digits[0] == '+' || digits[0] == '-' {
			return 0, false
		}
	default:
		return 0, false
	}
	value, err := strconv.ParseInt(digits, base, 64)
	return value, err == nil
}

// count is an integer of which 0 would look like the default.
func (r *reader) count(n node, key string, into *int) { r.integer(n, key, 1, math.MaxInt32, into) }

func (r *reader) address(n node, key string, into *ipmi.Address) {
	var value int
	r.integer(n, key, 1, math.MaxUint8, &value)
	*into = ipmi.Address(value)
}

func (r *reader) channel(n node, key string, into **ipmi.Channel) {
	value := -1
	if r.integer(n, key, 0, math.MaxUint8, &value); value >= 0 {
		*into = new(ipmi.Channel(value))
	}
}

func (r *reader) milliseconds(n node, key string, low int, into *time.Duration) {
	var value int
	r.integer(n, key, low, math.MaxInt32, &value)
	*into = time.Duration(value) * time.Millisecond
}

// list reads the elements of a list.
func list[C any](r *reader, n node, key string, known setters[C], into *[]C) {
	if !r.want(n, key, kindArray) {
		return
	}
	for i, element := range n.items {
		var c C
		r.places[item(key, i)] = element
		object(r, element, item(key, i), known, &c)
		*into = append(*into, c)
	}
}

// number reads a whole number from 0 to high.
func number[T ~uint8 | ~uint16 | ~uint32](r *reader, n node, key string, high int, into *T) {
	var value int
	r.integer(n, key, 0, high, &value)
	*into = T(value)
}

// real reads a number.
func (r *reader) real(n node, key string, into *float64) {
	if !r.want(n, key, kindNumber) {
		return
	}
	value, err := strconv.ParseFloat(n.text, 64)
	if err != nil {
		r.fault(n, key, "is too large")
		return
	}
	*into = value
}

func (r *reader) threshold(n node, key string, into **float64) {
	*into = new(float64)
	r.real(n, key, *into)
}

// date reads a day, as of UTC.
func (r *reader) date(n node, key string, into *time.Time) {
	if !r.want(n, key, kindString) {
		return
	}
	made, err := time.Parse(time.DateOnly, n.text)
	if err != nil {
		r.fault(n, key, `must be a date such as "2026-01-31"`)
		return
	}
	*into = made
}

// octets reads as many bytes as into has, in hexadecimal.
func (r *reader) octets(n node, key string, into []byte) {
	data, err := hex.DecodeString(n.text)
	if n.kind != kindString || err != nil || len(data) != len(into) {
		r.fault(n, key, "must be a string of "+strconv.Itoa(2*len(into))+" hexadecimal digits")
		return
	}
	copy(into, data)
}
