package e2e

import (
	bigendian "encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A zkCase is a script of requests. A line is
//
//	[connection:] REQUEST ARGUMENTS
//
// whose answers are compared, with the events that come in front of them. The connection is 1 unless it is said; each is
// opened, with a session of its own, when it is first used. ~ at the beginning of a path stands for a node that each run
// of a script has for itself. A w behind a read sets a watch. The items of multi and multiread stand between semicolons.
// Besides the requests there are
//
//	events               compares what events have come until now
//	op NUMBER [HEX]      sends any request
//	raw HEX              sends a packet
//	drop                 cuts the connection; the session lives on
//	resume C [MILLIS]    connects with the session of connection C
//	steal C              does so with a wrong password
//	open MILLIS [ZXID]   connects as a new client that asks for a time-out, and has seen a transaction
//	await                waits for an event
//	closed               waits for the server to cut the connection
type zkCase struct{ name, script string }

// zkPair is this server and a real ZooKeeper that have seen the same requests.
type zkPair struct {
	t       testing.TB
	servers [2]*zkServer // ours, theirs
	conns   map[string]*[2]*zkConn
	base    string
	writes  int

	unordered bool // events are compared as a set
	xid       int32
}

func startZKPair(t testing.TB) *zkPair {
	p := &zkPair{t: t}
	theirs := startZooKeeper(t)
	for i, address := range []string{startServer(t).zk, theirs} {
		p.servers[i] = &zkServer{address: address, zxids: map[int64]string{}, changes: map[int]int64{}, sessions: map[int64]string{}}
	}
	return p
}

// begin gives a run connections and a node of its own.
func (p *zkPair) begin(t testing.TB, base string) {
	p.t, p.base, p.conns = t, "/"+base, map[string]*[2]*zkConn{}
	t.Cleanup(func() {
		for _, c := range p.conns {
			c[0].Close()
			c[1].Close()
		}
	})
	p.line("base: create ~ - p")
}

// run carries out a script.
func (p *zkPair) run(t testing.TB, base, script string) {
	t.Helper()
	p.begin(t, base)
	for text := range strings.Lines(script) {
		if text = strings.TrimSpace(text); text != "" && !strings.HasPrefix(text, "#") {
			p.line(text)
		}
	}
}

const sessionMillis = 30_000

func (p *zkPair) conn(name string) *[2]*zkConn {
	p.t.Helper()
	if c, ok := p.conns[name]; ok {
		return c
	}
	c := p.connect(name, "(connecting)", func(s *zkServer, _ int) (*zkConn, string) {
		return zkDial(p.t, s, sessionMillis, 0, 0, strings.Repeat("\x00", 16))
	})
	return c
}

func (p *zkPair) connect(name, what string, dial func(s *zkServer, i int) (*zkConn, string)) *[2]*zkConn {
	p.t.Helper()
	if old, ok := p.conns[name]; ok {
		old[0].Close()
		old[1].Close()
	}
	var c [2]*zkConn
	var said [2]string
	for i, s := range p.servers {
		c[i], said[i] = dial(s, i)
		if _, known := s.sessions[c[i].session]; !known && c[i].session != 0 {
			s.sessions[c[i].session] = p.base + " " + name
		}
	}
	p.conns[name] = &c
	p.judge(name+": "+what, said[0], said[1])
	return &c
}

func (p *zkPair) judge(what, ours, theirs string) bool {
	p.t.Helper()
	if ours == theirs && ours != "(no answer)" {
		return true
	}
	p.t.Errorf("%s\n zookeeper: %s\n   triglot: %s", what, clip(theirs), clip(ours))
	return false
}

// line carries out a line of a script and reports whether the servers agree.
func (p *zkPair) line(text string) bool {
	p.t.Helper()
	words := splitScript(p.t, text)
	name := "1"
	if n, ok := strings.CutSuffix(words[0], ":"); ok {
		name, words = n, words[1:]
	}
	for i, w := range words {
		if strings.HasPrefix(w, "~") {
			words[i] = p.base + w[1:]
		}
	}
	switch words[0] {
	case "drop":
		for _, c := range p.conn(name) {
			c.Close()
		}
		return true
	case "resume", "steal":
		from := *p.conn(words[1])
		millis := int32(sessionMillis)
		if len(words) > 2 {
			millis = int32(must[int](p.t)(strconv.Atoi(words[2])))
		}
		p.connect(name, text, func(s *zkServer, i int) (*zkConn, string) {
			password := from[i].password
			if words[0] == "steal" {
				password = strings.Repeat("x", 16)
			}
			c, said := zkDial(p.t, s, millis, 0, from[i].session, password)
			return c, said + fmt.Sprint(", the same session ", c.session == from[i].session)
		})
		return true
	case "open":
		millis := int32(must[int](p.t)(strconv.Atoi(words[1])))
		seen := int64(0)
		if len(words) > 2 {
			seen = p.zxid(0, words[2])
		}
		p.connect(name, text, func(s *zkServer, _ int) (*zkConn, string) {
			return zkDial(p.t, s, millis, seen, 0, strings.Repeat("\x00", 16))
		})
		return true
	case "await":
		c := p.conn(name)
		return p.judge(text, c[0].event(), c[1].event())
	case "closed":
		c := p.conn(name)
		return p.judge(text, c[0].answer(nil, nil), c[1].answer(nil, nil))
	case "events":
		// A read is answered after all events of what it shows.
		return p.exchange(name, text, p.request("exists", []string{"/"}, true))
	case "raw":
		packet := must[[]byte](p.t)(hex.DecodeString(words[1]))
		return p.packet(name, text, packet, zkRequest{show: showNothing})
	}
	return p.exchange(name, text, p.request(words[0], words[1:], false))
}

// request builds a request of a script.
func (p *zkPair) request(verb string, args []string, blind bool) zkRequest {
	p.t.Helper()
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	number := func(i int) int64 { return must[int64](p.t)(strconv.ParseInt(arg(i), 10, 64)) }
	q := zkRequest{op: zkOps[verb], show: showNothing}
	w := &q.body
	path := func() { w.text(arg(0)) }
	watched := func() { path(); w.bool(arg(1) == "w") }
	data := func(i int) {
		if arg(i) == "-" {
			w.text("")
		} else {
			w.text(arg(i))
		}
	}
	switch verb {
	case "create", "create2", "createcontainer", "createttl":
		path()
		data(1)
		w.openACL()
		mode, ok := zkModes[arg(2)]
		if !ok {
			mode = int32(number(2))
		}
		w.int(mode)
		if verb == "createttl" {
			w.long(number(3))
		}
		q.show, q.writes = showPathStat, true
		if verb == "create" {
			q.show = showText
		}
	case "delete", "check":
		path()
		w.int(int32(number(1)))
		q.writes = verb == "delete"
	case "set":
		path()
		data(1)
		w.int(int32(number(2)))
		q.show, q.writes = showStat, true
	case "exists":
		watched()
		q.show = showStat
		if blind {
			q.show = func(_ *zkConn, r *juteReader) string { r.b = nil; return "" }
		}
	case "get":
		watched()
		q.show = showPathStat
	case "children":
		watched()
		q.show = showNames
	case "children2":
		watched()
		q.show = showNamesStat
	case "sync":
		path()
		q.show = showText
	case "getacl":
		path()
		q.show = showACLs
	case "ephemerals":
		path()
		q.show = showNames
	case "countall":
		path()
		q.show = showNumber
	case "addwatch":
		path()
		w.int(int32(number(1)))
		q.show = showNumber
	case "removewatches", "checkwatches":
		path()
		w.int(int32(number(1)))
	case "setwatches", "setwatches2":
		w.long(0)
		q.since = arg(0)
		lists := map[string][]string{}
		for _, a := range args[1:] {
			kind, paths, _ := strings.Cut(a, "=")
			for _, one := range strings.Split(paths, ",") {
				lists[kind] = append(lists[kind], strings.Replace(one, "~", p.base, 1))
			}
		}
		kinds := []string{"data", "exist", "child", "persistent", "recursive"}
		if verb == "setwatches" {
			kinds = kinds[:3]
		}
		for _, kind := range kinds {
			w.texts(lists[kind])
		}
	case "multi", "multiread":
		q.show = showMulti
		for _, item := range items(args) {
			one := p.request(item[0], item[1:], false)
			w.int(one.op)
			w.bool(false)
			w.int(-1)
			if verb == "multiread" { // without the watch
				w.text(item[1])
				w.bool(false)
				continue
			}
			w.b = append(w.b, one.body.b...)
			q.writes = q.writes || one.writes
		}
		w.int(-1)
		w.bool(true)
		w.int(-1)
	case "op":
		q.op = int32(number(0))
		w.b = must[[]byte](p.t)(hex.DecodeString(arg(1)))
	case "close":
		q.writes = true
	case "ping":
	default:
		p.t.Fatalf("no such request: %s", verb)
	}
	return q
}

// zxid gives the transaction id in which a server made one of the changes of the script: "w7" is that of the seventh
// request to write, or the last one before it that succeeded, and "now" is after all.
func (p *zkPair) zxid(server int, word string) int64 {
	if word == "now" {
		return 1 << 62
	}
	n := must[int](p.t)(strconv.Atoi(strings.TrimPrefix(word, "w")))
	for ; n > 0; n-- {
		if zxid, ok := p.servers[server].changes[n]; ok {
			return zxid
		}
	}
	return 0
}

func items(args []string) (list [][]string) {
	var item []string
	for _, a := range append(args, ";") {
		if a != ";" {
			item = append(item, a)
		} else if len(item) > 0 {
			list = append(list, item)
			item = nil
		}
	}
	return list
}

func (p *zkPair) exchange(name, text string, q zkRequest) bool {
	p.t.Helper()
	p.xid++
	xid := p.xid
	switch q.op {
	case 11:
		xid = -2
	case 101, 105:
		xid = -8
	}
	w := &juteWriter{}
	w.int(xid)
	w.int(q.op)
	return p.packet(name, text, append(w.b, q.body.b...), q)
}

// packet sends a packet and compares the answers with the events in front of them.
func (p *zkPair) packet(name, text string, packet []byte, q zkRequest) bool {
	p.t.Helper()
	if q.writes {
		p.writes++
	}
	c := p.conn(name)
	var answers [2]string
	for i := range c {
		if q.since != "" { // its number is the server's own
			const header = 8
			bigendian.BigEndian.PutUint64(packet[header:], uint64(p.zxid(i, q.since)))
		}
		c[i].send(packet)
	}
	for i := range c {
		named := func(zxid int64) {
			if _, known := p.servers[i].zxids[zxid]; q.writes && !known {
				p.servers[i].zxids[zxid] = fmt.Sprintf("w%d", p.writes)
				p.servers[i].changes[p.writes] = zxid
			}
		}
		answer := c[i].answer(func(r *juteReader) string { return q.show(c[i], r) }, named)
		if p.unordered {
			slices.Sort(c[i].events)
		}
		answers[i] = strings.Join(append(c[i].events, answer), "\n\t")
	}
	if name != "1" && !strings.HasPrefix(text, name) {
		text = name + ": " + text
	}
	return p.judge(text, answers[0], answers[1])
}

func TestZooKeeperRequestsAreAnsweredAsZooKeeperDoes(t *testing.T) {
	p := startZKPair(t)
	for i, c := range zkCases {
		t.Run(c.name, func(t *testing.T) { p.run(t, fmt.Sprintf("case%d", i), c.script) })
	}
}
