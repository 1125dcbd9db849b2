package core

import (
	"bytes"
	"math/big"
	"strconv"
)

// Numbers in values are text. Integers are 64 bits and canonical, as Redis' string2ll has them. Other numbers are what C's
// strtold reads, added with the 64-bit mantissa of the x87 long double, and written with at most 17 decimals; Redis does
// so on the platforms it is mostly used on, and clients see the digits. The arithmetic here is done on integers and is the
// same on every processor: replicas must not differ.

// parseInteger reads a canonical decimal integer: no plus sign, leading zeros, spaces or "-0".
func parseInteger(text []byte) (int64, bool) {
	const charsMax = len("-9223372036854775808")
	if len(text) == 0 || len(text) > charsMax {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	var canonical [charsMax]byte
	return n, err == nil && bytes.Equal(strconv.AppendInt(canonical[:0], n, 10), text)
}

// addIntegers adds a number to an integer that is a value, absent counts as 0.
func addIntegers(present []byte, there bool, delta int64, notInteger error) (int64, error) {
	var n int64
	if there {
		var ok bool
		if n, ok = parseInteger(present); !ok {
			return 0, notInteger
		}
	}
	sum := n + delta
	if (n^sum)&(delta^sum) < 0 {
		return 0, ErrOverflow
	}
	return sum, nil
}

// The range of an x87 long double, as powers of two, and the longest text that Redis takes for one.
const (
	floatMantissaBits = 64
	floatExponentMax  = 16384  // every value is below 2^16384
	floatExponentMin  = -16445 // the least value above 0
	floatDecimalMax   = 4933   // 10^4933 is above every value
	floatDecimalMin   = -4951  // 10^-4952 is below every value
	floatCharsMax     = 5*1024 - 1
	floatDecimals     = 17
)

// addFloats adds a number to one that is a value, absent counts as 0, and gives the text of the sum.
func addFloats(present []byte, there bool, delta string, notFloat error) ([]byte, error) {
	d, ok := parseFloat([]byte(delta))
	if !ok {
		return nil, ErrNotFloat
	}
	sum := new(big.Float).SetPrec(floatMantissaBits)
	if there {
		n, ok := parseFloat(present)
		if !ok {
			return nil, notFloat
		}
		if n.IsInf() {
			return nil, ErrNotFinite
		}
		sum.Set(n)
	}
	if d.IsInf() {
		return nil, ErrNotFinite
	}
	sum.Add(sum, d)
	if sum.MantExp(nil) > floatExponentMax {
		return nil, ErrNotFinite
	}
	return formatFloat(sum), nil
}

// formatFloat writes a finite number as C's %.17Lf does, without trailing zeros.
func formatFloat(x *big.Float) []byte {
	const exponentShown = -60 // what is below 2^-60 has no digit among the first 17
	if x.Sign() == 0 || x.MantExp(nil) < exponentShown {
		return []byte("0")
	}
	text := bytes.TrimRight(x.Append(nil, 'f', floatDecimals), "0")
	text = bytes.TrimSuffix(text, []byte("."))
	if string(text) == "-0" || len(text) == 0 {
		return []byte("0")
	}
	return text
}

// parseFloat reads a number as strtold does in the C locale: decimal or hexadecimal, with an exponent or without, or
// infinity. What it would round to infinity or, not being zero, to zero is refused.
func parseFloat(text []byte) (*big.Float, bool) {
	if len(text) == 0 || len(text) > floatCharsMax {
		return nil, false
	}
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	var x *big.Float
	ok := true
	switch {
	case bytes.EqualFold(text, []byte("inf")), bytes.EqualFold(text, []byte("infinity")):
		x = new(big.Float).SetInf(false)
	case len(text) > 1 && text[0] == '0' && text[1]|0x20 == 'x':
		x, ok = parseHexadecimal(text[2:])
	default:
		x, ok = parseDecimal(text)
	}
	if ok && negative {
		x.Neg(x)
	}
	return x, ok
}

func parseDecimal(text []byte) (*big.Float, bool) {
	digits, exponent, ok := splitFloat(text, 10, 'e')
	if !ok {
		return nil, false
	}
	x := new(big.Float).SetPrec(floatMantissaBits)
	if len(digits) == 0 {
		return x, true
	}
	// The number is below 10^size and not below 10^(size-1): refuse what is far out before computing powers.
	if size := exponent + int64(len(digits)); size > floatDecimalMax || size < floatDecimalMin {
		return nil, false
	}
	mantissa, _ := new(big.Int).SetString(string(digits), 10)
	if exponent >= 0 {
		x.SetInt(mantissa.Mul(mantissa, powerOfTen(exponent)))
	} else {
		// Both sides are exact, so that the quotient is rounded once.
		x.Quo(new(big.Float).SetInt(mantissa), new(big.Float).SetInt(powerOfTen(-exponent)))
	}
	return x, representable(x)
}

func powerOfTen(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

func parseHexadecimal(text []byte) (*big.Float, bool) {
	digits, exponent, ok := splitFloat(text, 16, 'p')
	if !ok {
		return nil, false
	}
	x := new(big.Float).SetPrec(floatMantissaBits)
	if len(digits) == 0 {
		return x, true
	}
	mantissa, _ := new(big.Int).SetString(string(digits), 16)
	if size := exponent + int64(mantissa.BitLen()); size > floatExponentMax || size < floatExponentMin {
		return nil, false
	}
	x.SetInt(mantissa)
	x.SetMantExp(x, int(exponent))
	return x, representable(x)
}

// representable says that a number other than 0 rounds neither to infinity nor to 0.
func representable(x *big.Float) bool {
	exponent := x.MantExp(nil) // x is in [2^(exponent-1), 2^exponent)
	if exponent == floatExponentMin {
		return x.MinPrec() > 1 // the tie between 0 and the least number goes to 0
	}
	return exponent <= floatExponentMax && exponent > floatExponentMin
}

// splitFloat takes a number apart: digits without leading zeros, and the exponent that counts from their end. An exponent
// beyond all use is cut.
func splitFloat(text []byte, base int, mark byte) (digits []byte, exponent int64, ok bool) {
	seen, point := 0, -1
	i := 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && point < 0 {
			point = seen
			continue
		}
		if !isDigit(c, base) {
			break
		}
		seen++
		if len(digits) > 0 || c != '0' {
			digits = append(digits, c)
		}
	}
	if seen == 0 {
		return nil, 0, false
	}
	if i < len(text) {
		if text[i]|0x20 != mark {
			return nil, 0, false
		}
		if exponent, ok = parseExponent(text[i+1:]); !ok {
			return nil, 0, false
		}
	}
	if point >= 0 {
		decimals := int64(seen - point)
		if base == 16 {
			decimals *= 4
		}
		exponent -= decimals
	}
	return digits, exponent, true
}

func isDigit(c byte, base int) bool {
	return c >= '0' && c <= '9' || base == 16 && c|0x20 >= 'a' && c|0x20 <= 'f'
}

func parseExponent(text []byte) (int64, bool) {
	const beyondUse = 1 << 24 // far above the longest text and the largest exponent together
	negative := len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		text = text[1:]
	}
	if len(text) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range text {
		if !isDigit(c, 10) {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), beyondUse)
	}
	if negative {
		n = -n
	}
	return n, true
}
