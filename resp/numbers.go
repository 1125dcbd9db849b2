package resp

import (
	"bytes"
	"math"
	"math/big"
	"strconv"
)

// parseInt reads a number the way Redis insists on it: as it would itself be printed, without a plus sign, leading
// zeros or spaces.
func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	digits := b
	negative := b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && (len(digits) > 1 || negative) {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' || n > math.MaxUint64/10 {
			return 0, false
		}
		d := uint64(c - '0')
		if n*10 > math.MaxUint64-d {
			return 0, false
		}
		n = n*10 + d
	}
	switch {
	case negative && n <= -math.MinInt64:
		return -int64(n), true // also for the smallest number: it is its own negative
	case !negative && n <= math.MaxInt64:
		return int64(n), true
	}
	return 0, false
}

// parseFloat reads a number as C's strtod does, except that NaN is none.
func parseFloat(b []byte) (float64, bool) {
	s := string(b)
	if s == "" || bytes.IndexByte(b, '_') >= 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		if i, ok := parseHexInt(s); ok {
			return i, true
		}
	}
	if err != nil && !math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// parseHexInt reads hexadecimal numbers without exponent, which C accepts and Go does not.
func parseHexInt(s string) (float64, bool) {
	f, ok := new(big.Float).SetPrec(64).SetString(s)
	if !ok {
		return 0, false
	}
	v, _ := f.Float64()
	return v, true
}

// decimal reads the argument of INCRBYFLOAT and gives it as a plain decimal number, which is what core takes.
// finite is false for infinity.
func decimal(b []byte) (s string, finite, ok bool) {
	f, ok := parseFloat(b)
	if !ok {
		return "", false, false
	}
	if isPlainDecimal(b) {
		return string(b), true, true
	}
	d, ok := new(big.Float).SetPrec(64).SetString(string(b))
	if !ok || d.IsInf() {
		return "", !math.IsInf(f, 0), ok || math.IsInf(f, 0)
	}
	return d.Text('g', 25), true, true
}

// isPlainDecimal reports whether b consists of digits, a point, signs and an exponent only. A number too large for any
// floating-point type is not a concern here: core finds that the result is not finite.
func isPlainDecimal(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}
