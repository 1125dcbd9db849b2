package zkcompat

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

// What a command was before does not show in what it becomes.
func TestCommandsAreBuiltAsIfNothingHadBeenBefore(t *testing.T) {
	c := &conn{session: 5, owner: 6}
	a := func(code int32, r request) *request {
		r.op = opcodes[code]
		return &r
	}
	requests := []*request{
		a(opCreate, request{path: "/full", data: []byte("data"), mode: modeEphemeralSequential}),
		a(opCreateTTL, request{path: "/ttl", mode: modeTTL, ttl: 7}),
		a(opCreate, request{path: "/bare"}),
		a(opCreateContainer, request{path: "/container", mode: modeContainer}),
		a(5, request{path: "/set", data: []byte("data"), version: 3}),
		a(5, request{path: "/empty"}),
		a(2, request{path: "/gone", version: -1}),
		a(2, request{path: "/first"}),
		a(opCloseSession, request{}),
		a(opMulti, request{items: []*request{
			a(opCreate, request{path: "/a", data: []byte("1")}), a(opCreate, request{path: "/b"}), a(5, request{path: "/c"}),
			a(2, request{path: "/d"}), a(13, request{path: "/e"}), a(2, request{path: "/f", version: 9}),
		}}),
	}
	used := &command{}
	for round := range 2 {
		for i := range requests {
			if round == 1 {
				i = len(requests) - 1 - i
			}
			fresh := &command{}
			c.build(requests[i], fresh)
			c.build(requests[i], used)
			if !proto.Equal(&used.txn, &fresh.txn) {
				t.Errorf("request %d became\n%v\nwant\n%v", i, &used.txn, &fresh.txn)
			}
			if ops := len(fresh.txn.Then); ops != max(1, len(requests[i].items)) {
				t.Errorf("request %d became %d ops", i, ops)
			}
			used.end()
		}
	}
}
