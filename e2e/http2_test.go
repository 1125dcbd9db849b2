package e2e

import (
	"net"
	"strconv"
	"testing"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// Where we differ from h2spec's cases, with the reason.
var h2specDifferences = map[string]string{
	"Sends invalid connection preface": "what does not open as HTTP/2 does is answered as HTTP/1 is, on the same port",
}

// The rules of HTTP/2 and HPACK as h2spec puts them, the strict ones included, for the port that etcd's clients use.
func TestTheEtcdPortKeepsTheRulesOfHTTP2(t *testing.T) {
	s := startServer(t)
	host, port, err := net.SplitHostPort(s.etcd)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{Host: host, Port: number, Path: "/version", Timeout: opPatience, MaxHeaderLen: 4000, Strict: true}
	ran := 0
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(c)
		ran += judgeH2spec(t, group)
	}
	if ran < 140 {
		t.Errorf("only %d cases ran", ran)
	}
}

// judgeH2spec fails for each failed case, and counts those that ran.
func judgeH2spec(t *testing.T, group *spec.TestGroup) (ran int) {
	for _, test := range append(group.Tests, group.StrictTests...) {
		if test.Result == nil || test.Result.Skipped {
			continue
		}
		ran++
		if test.Result.Failed && h2specDifferences[test.Desc] == "" {
			t.Errorf("%s: %s: %v", group.Section, test.Desc, test.Result.Error)
		}
	}
	for _, inner := range group.Groups {
		ran += judgeH2spec(t, inner)
	}
	return ran
}
