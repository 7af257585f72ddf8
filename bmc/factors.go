package bmc

import (
	"fmt"
	"math"
)

// factors turn the byte x of a reading into a value: (M*x + B*10^bExp)*10^rExp (IPMI v2.0,
// section 36.3). M and B are signed numbers of 10 bits, the exponents of 4.
type factors struct{ m, b, bExp, rExp int }

const (
	maxFactor   = 511
	minExponent = -8
	maxExponent = 7
	maxReading  = 255
	// tolerance is far below a step. It hides that 0.1 is not exact in binary.
	tolerance = 1e-9
)

// newFactors are those with the finest steps that reach from low to high.
func newFactors(low, high float64) (factors, error) {
	if !(low < high) {
		return factors{}, fmt.Errorf("min %g is not below max %g", low, high)
	}
	for rExp := minExponent; rExp <= maxExponent; rExp++ {
		unit := math.Pow10(rExp)
		b, bExp, ok := offsetOf(low / unit)
		if !ok {
			continue
		}
		m := math.Ceil((high/unit-float64(b)*math.Pow10(bExp))/maxReading - tolerance)
		if m <= maxFactor {
			return factors{max(int(m), 1), b, bExp, rExp}, nil
		}
	}
	return factors{}, fmt.Errorf("no factors reach from %g to %g", low, high)
}

// offsetOf is a value, or one just below it, as B and its exponent.
func offsetOf(value float64) (b, exponent int, ok bool) {
	for exponent = range maxExponent + 1 {
		if f := math.Floor(value/math.Pow10(exponent) + tolerance); math.Abs(f) <= maxFactor {
			return int(f), exponent, true
		}
	}
	return 0, 0, false
}

// raw is the reading nearest to a value.
func (f factors) raw(value float64) byte {
	x := math.Round((value/math.Pow10(f.rExp) - float64(f.b)*math.Pow10(f.bExp)) / float64(f.m))
	return byte(min(max(x, 0), maxReading))
}

// steps is a difference of values as a difference of readings.
func (f factors) steps(difference float64) byte {
	x := math.Round(difference / math.Pow10(f.rExp) / float64(f.m))
	return byte(min(max(x, 0), maxReading))
}

// bytes are M and tolerance, B and accuracy, and the exponents, as in a record and in the
// response to Get Sensor Reading Factors.
func (f factors) bytes() [6]byte {
	return [6]byte{byte(f.m), byte(f.m>>8) << 6, byte(f.b), byte(f.b>>8) << 6, 0, byte(f.rExp)<<4 | byte(f.bExp)&0x0F}
}
