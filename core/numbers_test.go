package core

import (
	"errors"
	"math/big"
	"strings"
	"testing"
)

// What Redis 7.0.15 answers on x86-64: SET s <present>, INCRBYFLOAT s <delta>. Beyond this table 60000 random pairs, of all
// the forms that strtold reads, were compared with it.
var redisFloats = []struct {
	present, delta, sum string
	err                 error
}{
	{present: "0.1", delta: "0.2", sum: "0.3"},
	{present: "3.0e3", delta: "200", sum: "3200"},
	{present: "10.50", delta: "0.1", sum: "10.6"},
	{present: "1.1", delta: "2.2", sum: "3.3"},
	{present: "5.5", delta: "-5.5", sum: "0"},
	{present: "0.1", delta: "-0.1", sum: "0"},
	{present: "-0", delta: "0", sum: "0"},
	{present: "00012.50", delta: "0", sum: "12.5"},

	// Seventeen decimals, and no more than the mantissa holds.
	{present: "1", delta: "1e-17", sum: "1.00000000000000001"},
	{present: "1", delta: "5e-18", sum: "1"},
	{present: "0", delta: "0.000000000000000005", sum: "0"},
	{present: "0", delta: "0.00000000000000000499", sum: "0"},
	{present: "-1e-18", delta: "0", sum: "0"},
	{present: "123456789.123456789", delta: "0.000000001", sum: "123456789.12345678999554366"},
	{present: "9007199254740993", delta: "1", sum: "9007199254740994"},
	{present: "18446744073709551615", delta: "1", sum: "18446744073709551616"},
	{present: "18446744073709551616", delta: "1", sum: "18446744073709551616"},
	{present: "1e30", delta: "1", sum: "1000000000000000000024696061952"},

	// The forms that strtold reads.
	{present: "+.5", delta: "5.", sum: "5.5"},
	{present: "0x1p-3", delta: "0", sum: "0.125"},
	{present: "0X.8P1", delta: "1", sum: "2"},
	{present: "0x1.8", delta: "0", sum: "1.5"},
	{present: "0e99999999999999999999", delta: "1", sum: "1"},
	{present: "0x0p99999", delta: "1", sum: "1"},

	// The range of the long double.
	{present: "1e-4950", delta: "0", sum: "0"},
	{present: "1.9e-4951", delta: "0", sum: "0"},
	{present: "1.8e-4951", delta: "0", err: ErrNotFloat},
	{present: "1e-99999999999999999999", delta: "1", err: ErrNotFloat},
	{present: "1.18973149535723176502e4932", delta: "-1.18973149535723176502e4932", sum: "0"},
	{present: "1.18973149535723176508e4932", delta: "0", err: ErrNotFloat},
	{present: "1e99999999999999999999", delta: "1", err: ErrNotFloat},
	{present: "0x1p16383", delta: "-0x1p16383", sum: "0"},
	{present: "0x1p16384", delta: "0", err: ErrNotFloat},
	{present: "1e4932", delta: "1e4932", err: ErrNotFinite},
	{present: "-1e4932", delta: "-1e4932", err: ErrNotFinite},
	{present: "inf", delta: "0", err: ErrNotFinite},
	{present: "0", delta: "-Infinity", err: ErrNotFinite},
	{present: "inf", delta: "-inf", err: ErrNotFinite},

	// What is no number.
	{present: "nan", delta: "0", err: ErrNotFloat},
	{present: "1_000", delta: "0", err: ErrNotFloat},
	{present: "0b1", delta: "0", err: ErrNotFloat},
	{present: "0o7", delta: "0", err: ErrNotFloat},
	{present: "1e", delta: "0", err: ErrNotFloat},
	{present: "1e+", delta: "0", err: ErrNotFloat},
	{present: ".", delta: "0", err: ErrNotFloat},
	{present: "", delta: "0", err: ErrNotFloat},
	{present: "-", delta: "0", err: ErrNotFloat},
	{present: "0x", delta: "0", err: ErrNotFloat},
	{present: "0xp1", delta: "0", err: ErrNotFloat},
	{present: "1 ", delta: "0", err: ErrNotFloat},
	{present: " 1", delta: "0", err: ErrNotFloat},
	{present: "1\x00", delta: "0", err: ErrNotFloat},
	{present: "١", delta: "0", err: ErrNotFloat},
	{present: "1.2.3", delta: "0", err: ErrNotFloat},
}

func TestFloatsAreAddedAsInRedis(t *testing.T) {
	for _, row := range redisFloats {
		sum, err := addFloats([]byte(row.present), true, row.delta, ErrNotFloat)
		if string(sum) != row.sum || !errors.Is(err, row.err) {
			t.Errorf("%q + %q gives %q, %v; want %q, %v", row.present, row.delta, sum, err, row.sum, row.err)
		}
	}
	if sum, err := addFloats(nil, false, "1.50", ErrNotFloat); err != nil || string(sum) != "1.5" {
		t.Errorf("absent + 1.50 gives %q, %v", sum, err)
	}
	// The one that is wrong is the one that is named; in a hash what is added is looked at first.
	if _, err := addFloats([]byte("x"), true, "y", ErrHashNotFloat); !errors.Is(err, ErrNotFloat) {
		t.Error(err)
	}
	if _, err := addFloats([]byte("x"), true, "1", ErrHashNotFloat); !errors.Is(err, ErrHashNotFloat) {
		t.Error(err)
	}
}

func TestFloatsOfAnyLengthAreReadInBoundedWork(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("9", floatCharsMax),
		"0." + strings.Repeat("0", floatCharsMax-3) + "1",
		"1e" + strings.Repeat("9", floatCharsMax-2),
		"1e-" + strings.Repeat("9", floatCharsMax-3),
		"0x" + strings.Repeat("f", floatCharsMax-2),
		"0x1p" + strings.Repeat("9", floatCharsMax-4),
	} {
		if _, ok := parseFloat([]byte(text)); ok {
			t.Errorf("%.10s… is a number", text)
		}
	}
	long := "0." + strings.Repeat("3", floatCharsMax-2)
	if x, ok := parseFloat([]byte(long)); !ok || string(formatFloat(x)) != "0.33333333333333333" {
		t.Error(x, ok)
	}
	if _, ok := parseFloat([]byte(long + "3")); ok {
		t.Error("longer than Redis takes")
	}
}

func TestIntegersAreCanonical(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "7": 7, "-7": -7, "10": 10, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
	} {
		if n, ok := parseInteger([]byte(text)); !ok || n != want {
			t.Errorf("%q is %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{
		"", "-", "+", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "1_0", "1\x00",
		"9223372036854775808", "-9223372036854775809", "18446744073709551616", strings.Repeat("1", 1000),
	} {
		if n, ok := parseInteger([]byte(text)); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}

func TestIntegerSumsDoNotWrap(t *testing.T) {
	for _, row := range []struct {
		present string
		delta   int64
		err     error
	}{
		{"9223372036854775807", 1, ErrOverflow},
		{"-9223372036854775808", -1, ErrOverflow},
		{"-1", -1 << 63, ErrOverflow},
		{"0", -1 << 63, nil},
		{"9223372036854775807", -1 << 63, nil},
		{"-9223372036854775808", 1<<63 - 1, nil},
	} {
		sum, err := addIntegers([]byte(row.present), true, row.delta, ErrNotInteger)
		if !errors.Is(err, row.err) {
			t.Errorf("%s + %d gives %d, %v", row.present, row.delta, sum, err)
		}
	}
}

// Whatever is taken for a number is read back from its text, and its text again is the same.
func FuzzParseFloat(f *testing.F) {
	for _, row := range redisFloats {
		f.Add([]byte(row.present))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		x, ok := parseFloat(text)
		if !ok || x.IsInf() {
			return
		}
		once := formatFloat(x)
		y, ok := parseFloat(once)
		if !ok {
			t.Fatalf("%q became %q, which is no number", text, once)
		}
		if twice := formatFloat(y); string(once) != string(twice) {
			// Digits beyond the mantissa are cut at 17 decimals, so that reading back may differ in the last place only.
			difference := new(big.Float).Sub(x, y)
			if difference.Abs(difference).Cmp(big.NewFloat(1e-17)) > 0 {
				t.Fatalf("%q became %q and then %q", text, once, twice)
			}
		}
	})
}
