package e2e

import (
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// An etcdCase is a script of requests. A line is
//
//	METHOD REQUEST
//
// where the request is in the text form of protobuf; its answers are compared. @N stands for the revision at which the
// case began, plus N. On watch streams, which have names and are opened when they are first used,
//
//	NAME: create REQUEST   makes a watcher
//	NAME: send REQUEST     sends anything else
//	NAME: drain            compares everything that came until now
//	NAME: wait N           waits for N items in all, which are events, beginnings and ends of watchers, and compares
type etcdCase struct{ name, script string }

func (p *etcdPair) run(t testing.TB, script string) {
	t.Helper()
	p.t, p.ctx = t, testContext(t)
	p.clear()
	p.base = p.revision
	streams := map[string]*twinWatch{}
	for text := range strings.Lines(script) {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		verb, rest, _ := strings.Cut(text, " ")
		name, isStream := strings.CutSuffix(verb, ":")
		if !isStream {
			p.compare(verb, rest)
			continue
		}
		if streams[name] == nil {
			streams[name] = p.watch()
		}
		p.onStream(streams[name], text, rest)
	}
}

func (p *etcdPair) onStream(w *twinWatch, line, command string) {
	p.t.Helper()
	verb, rest, _ := strings.Cut(command, " ")
	switch verb {
	case "create":
		request := &pb.WatchCreateRequest{}
		p.parse(rest, request)
		w.create(request)
	case "send":
		request := &pb.WatchRequest{}
		p.parse(rest, request)
		w.send(request)
	case "drain":
		w.drain(line)
	case "wait":
		w.wait(line, must[int](p.t)(strconv.Atoi(rest)))
	default:
		p.t.Fatalf("%s: what is that?", line)
	}
}

// clear makes both servers forget all keys and leases.
func (p *etcdPair) clear() {
	p.t.Helper()
	p.compare("DeleteRange", `key:"\x00" range_end:"\x00"`)
	answer, err := p.invoke(1, "LeaseLeases", &pb.LeaseLeasesRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, lease := range answer.(*pb.LeaseLeasesResponse).Leases {
		p.compareMessage("LeaseRevoke", &pb.LeaseRevokeRequest{ID: lease.ID})
	}
	p.compare("Range", `key:"\x00" range_end:"\x00"`)
}

func TestEtcdRequestsAreAnsweredAsEtcdDoes(t *testing.T) {
	p := startEtcdPair(t)
	for _, cases := range [][]etcdCase{etcdKVCases, etcdTxnCases, etcdWatchCases} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) { p.run(t, c.script) })
		}
	}
}
