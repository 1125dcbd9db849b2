package main

import (
	"strings"
	"testing"
	"testing/quick"
	"time"
)

func TestSizesAreReadWithUnitsOfTwo(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1572864": 1572864, "512B": 512, "1KiB": 1 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
		"1.5GiB": 3 << 29, "64 mib": 64 << 20, " 7 ": 7, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestWrongSizesSayWhatASizeIs(t *testing.T) {
	for _, text := range []string{"", "MiB", "-1", "-1KiB", "1MB", "1.5", "1e3", "NaNKiB", "InfGiB", "9223372036854775808", "9000000TiB", "99999999.5TiB", "x"} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), "KiB, MiB or GiB") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestPrintedSizesAreReadBack(t *testing.T) {
	same := func(n int64) bool {
		n &= 1<<62 - 1
		got, err := parseSize(printSize(n))
		return err == nil && got == n
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
	for _, n := range []int64{0, 1, 1023, 1024, 1536 << 10, 1 << 40} {
		if !same(n) {
			t.Error(n)
		}
	}
}

func TestDurationsAreShownWithoutZeros(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Hour: "1h", 90 * time.Minute: "1h30m", 40 * time.Second: "40s", time.Minute: "1m", 10 * time.Hour: "10h",
		time.Hour + time.Second: "1h0m1s",
	} {
		got := printDuration(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestAddressesAreHostAndPortOrEmpty(t *testing.T) {
	for _, good := range []string{"", "127.0.0.1:6379", ":6379", "[::1]:2379", "localhost:0"} {
		if _, err := parseAddresses(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"6379", "127.0.0.1", "127.0.0.1:", "127.0.0.1:redis", "127.0.0.1:65536", "::1:2379", "redis://localhost:1"} {
		if _, err := parseAddresses(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
