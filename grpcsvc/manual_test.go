package grpcsvc

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// The page about etcd's API has a row for each call, and none for a call that there is not.
func TestEachCallHasItsRowInTheManual(t *testing.T) {
	page, err := os.ReadFile("../docs/compatibility/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9.]+\\.[A-Z][A-Za-z]+/[A-Za-z]+)` \\| (?:same|differs) \\|").FindAllStringSubmatch(string(page), -1) {
		rows[row[1]]++
	}
	calls := map[string]int{}
	for service, info := range startNode(t, Options{}).server.calls.GetServiceInfo() {
		for _, method := range info.Methods {
			calls[service+"/"+method.Name]++
		}
	}
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		if rows[call] != 1 {
			t.Errorf("%s has %d rows", call, rows[call])
		}
		delete(rows, call)
	}
	for row := range rows {
		t.Errorf("there is no %s", row)
	}
}
