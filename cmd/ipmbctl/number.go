package main

import (
	"fmt"
	"strconv"
	"strings"

	"ipmbd/ipmi"
)

// parseByte reads a number up to 255, written 44, 0x2C or 2Ch. Decimal numbers
// such as 010 are refused: other programs read them as octal.
func parseByte(s string) (byte, error) {
	digits, base := digitsOf(s)
	v, err := strconv.ParseUint(digits, base, 8)
	switch {
	case err == nil && base == 10 && digits[0] == '0' && v > 7:
		return 0, usage("%q: is it octal or decimal? Write %d or 0x%02X", s, v, v)
	case err == nil:
		return byte(v), nil
	case isHex(s):
		return 0, usage("%q is no number; write it 0x%s", s, s)
	}
	return 0, usage("%q is no byte; write a number up to 255 as 44, 0x2C or 2Ch", s)
}

// digitsOf are the digits of a number written 44, 0x2C or 2Ch, and their base.
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

func isHex(s string) bool {
	_, err := strconv.ParseUint(s, 16, 8)
	return err == nil
}

// parseAddress reads the address of a node on a bus.
func parseAddress(s string) (ipmi.Address, error) {
	v, err := parseByte(s)
	if err != nil {
		return 0, fmt.Errorf("address %w", err)
	}
	a := ipmi.Address(v)
	if !a.IsSlave() {
		return 0, usage("address %s: addresses are even, 02h to FEh: the 8-bit form, 20h for a node at 10h in 7 bits", a)
	}
	return a, nil
}
