package e2e

import (
	"net"
	"os"
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
	c := &config.Config{Host: host, Port: number, Path: "/version", Timeout: opPatience / 2, MaxHeaderLen: 4000, Strict: true}
	// Some cases are about a stream that is still open, and its answer may be quicker than their next frame: what counts is whether
	// a case never passes. Package h2 has the same cases with streams that stay open.
	failed, ran := map[string]error{}, 0
	for round := range 6 {
		failing := map[string]error{}
		ran = 0
		for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
			silently(t, func() { group.Test(c) })
			ran += judgeH2spec(failing, group)
		}
		if round == 0 {
			failed = failing
		}
		for name := range failed {
			if failing[name] == nil {
				delete(failed, name)
			}
		}
		if len(failed) == 0 {
			break
		}
	}
	for name, err := range failed {
		t.Errorf("%s: %v", name, err)
	}
	if ran < 140 {
		t.Errorf("only %d cases ran", ran)
	}
}

// silently does what prints: h2spec tells of each case, which would hide what other tests have to say.
func silently(t *testing.T, do func()) {
	t.Helper()
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	was := os.Stdout
	os.Stdout = nowhere
	defer func() { os.Stdout = was }()
	do()
}

// judgeH2spec notes each failed case, and counts those that ran.
func judgeH2spec(failing map[string]error, group *spec.TestGroup) (ran int) {
	for _, test := range append(group.Tests, group.StrictTests...) {
		if test.Result == nil || test.Result.Skipped {
			continue
		}
		ran++
		if test.Result.Failed && h2specDifferences[test.Desc] == "" {
			failing[group.Section+": "+test.Desc] = test.Result.Error
		}
	}
	for _, inner := range group.Groups {
		ran += judgeH2spec(failing, inner)
	}
	return ran
}
