package resp

import (
	"math"
	"testing"
)

func TestParseIntTakesOnlyWhatItWouldPrint(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "-1": -1, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64,
	} {
		if n, ok := parseInt([]byte(s)); !ok || n != want {
			t.Errorf("%s: %d, %v", s, n, ok)
		}
	}
	for _, s := range []string{
		"", "-", "+1", " 1", "1 ", "01", "-0", "-01", "00", "1.0", "0x1", "9223372036854775808", "-9223372036854775809",
		"18446744073709551616", "99999999999999999999", "999999999999999999999",
	} {
		if n, ok := parseInt([]byte(s)); ok {
			t.Errorf("%s: read as %d", s, n)
		}
	}
}

func TestDecimalTakesWhatCReadsAsANumber(t *testing.T) {
	for s, want := range map[string]string{
		"1.5": "1.5", "-3": "-3", "+5": "+5", "1e5": "1e5", ".5": ".5", "5.": "5.", "0x10": "16", "1e5000": "1e5000",
	} {
		if d, finite, ok := decimal([]byte(s)); !ok || !finite || d != want {
			t.Errorf("%s: %q, %v, %v", s, d, finite, ok)
		}
	}
	for _, s := range []string{"", " 1", "1 ", "a", "nan", "1_0", "0x_1", "1e", "--1", "e5", "."} {
		if d, _, ok := decimal([]byte(s)); ok {
			t.Errorf("%q: read as %s", s, d)
		}
	}
	for _, s := range []string{"inf", "-inf", "Infinity"} {
		if _, finite, ok := decimal([]byte(s)); !ok || finite {
			t.Errorf("%s: finite %v, %v", s, finite, ok)
		}
	}
}
