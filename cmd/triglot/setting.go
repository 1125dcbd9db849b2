package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/triglot/triglot/resp"
)

// A setting is a row of the table in config.go: one name for the flag, the variable and the line of the file, and one
// parser for all three.
type setting struct {
	group string
	name  string
	value pflag.Value
	help  string
}

// parsed makes a pflag.Value of a variable, a parser and a printer.
type parsed[T any] struct {
	at    *T
	kind  string
	parse func(string) (T, error)
	print func(T) string
}

func (v parsed[T]) Type() string   { return v.kind }
func (v parsed[T]) String() string { return v.print(*v.at) }
func (v parsed[T]) Set(text string) error {
	value, err := v.parse(text)
	if err != nil {
		return err
	}
	*v.at = value
	return nil
}

func text(at *string, value string) pflag.Value {
	*at = value
	return parsed[string]{at, "string", func(s string) (string, error) { return s, nil }, func(s string) string { return s }}
}

// eventClasses takes the letters of Redis' setting notify-keyspace-events.
func eventClasses(at *string, value string) pflag.Value {
	*at = value
	return parsed[string]{at, "letters", func(s string) (string, error) { return s, resp.CheckEventClasses(s) },
		func(s string) string { return s }}
}

func address(at *string, value string) pflag.Value {
	*at = value
	return parsed[string]{at, "address", parseAddresses, func(s string) string { return s }}
}

func choice(at *string, value string, words ...string) pflag.Value {
	*at = value
	return parsed[string]{at, strings.Join(words, "|"), func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("it is one of %s", strings.Join(words, ", "))
		}
		return s, nil
	}, func(s string) string { return s }}
}

func toggle(at *bool, value bool) pflag.Value {
	*at = value
	return parsed[bool]{at, "bool", func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, fmt.Errorf("it is true or false")
		}
		return b, nil
	}, strconv.FormatBool}
}

func number(at *int, value, least int) pflag.Value {
	*at = value
	return parsed[int]{at, "number", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least {
			return 0, fmt.Errorf("it is a whole number, %d or more", least)
		}
		return n, nil
	}, strconv.Itoa}
}

func numberTo(at *int, value, least, most int) pflag.Value {
	*at = value
	return parsed[int]{at, "number", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("it is a whole number from %d to %d", least, most)
		}
		return n, nil
	}, strconv.Itoa}
}

func duration(at *time.Duration, value, least time.Duration) pflag.Value {
	*at = value
	return parsed[time.Duration]{at, "duration", func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < least {
			return 0, fmt.Errorf("it is a duration like 500ms, 30s or 1h, %s or more", printDuration(least))
		}
		return d, nil
	}, printDuration}
}

func size(at *int64, value, least int64) pflag.Value {
	*at = value
	return parsed[int64]{at, "size", func(s string) (int64, error) {
		n, err := parseSize(s)
		if err == nil && n < least {
			err = fmt.Errorf("it is %s or more", printSize(least))
		}
		return n, err
	}, printSize}
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseSize reads "1048575", "512MiB" or "1.5GiB". Units of a thousand are not offered: nobody agrees on what "MB" means.
func parseSize(s string) (int64, error) {
	wrong := fmt.Errorf("it is a number of bytes, or a number with KiB, MiB or GiB")
	digits, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if n := len(digits) - len(u.name); n > 0 && strings.EqualFold(digits[n:], u.name) {
			digits, unit = strings.TrimSpace(digits[:n]), u.bytes
			break
		}
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/unit {
			return 0, wrong
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(f >= 0 && f*float64(unit) < math.MaxInt64) || unit == 1 {
		return 0, wrong
	}
	return int64(f * float64(unit)), nil
}

// printSize gives the shortest text that parseSize reads as n.
func printSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// printDuration is Duration.String without the zeros: 1h, not 1h0m0s.
func printDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// printSettings shows the flags of serve in the groups of the table.
func printSettings(out io.Writer, flags *pflag.FlagSet) {
	var groups []string
	members := map[string]*pflag.FlagSet{}
	for _, s := range (&config{}).settings() {
		if members[s.group] == nil {
			groups = append(groups, s.group)
			members[s.group] = pflag.NewFlagSet(s.group, pflag.ContinueOnError)
			members[s.group].SortFlags = false
		}
		members[s.group].AddFlag(flags.Lookup(s.name))
	}
	for _, group := range groups {
		fmt.Fprintf(out, "\n%s:\n%s", group, members[group].FlagUsagesWrapped(120))
	}
}
