package e2e

import (
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startZooKeeper runs Debian's ZooKeeper and gives its address.
func startZooKeeper(t testing.TB) string {
	t.Helper()
	java := lookPath(t, "java")
	const jar = "/usr/share/java/zookeeper.jar"
	if _, err := os.Stat(jar); err != nil {
		lookPath(t, jar) // says that it is missing, or fails where it has to be there
	}
	address := freePorts(t, 1)[0]
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=2000\ndataDir=%s\nclientPort=%s\nclientPortAddress=%s\nmaxClientCnxns=0\n"+
		"admin.enableServer=false\n4lw.commands.whitelist=*\n", filepath.Join(dir, "data"), port, host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	startPeer(t, address, exec.Command(java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.extendedTypesEnabled=true",
		"-Dzookeeper.forceSync=no", "-cp", jar+":/usr/share/java/*",
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", config))
	// It listens before it serves, and hangs up until then.
	for deadline := time.Now().Add(patience); !strings.Contains(fourLetters(t, address, "srvr"), "Mode:"); {
		if time.Now().After(deadline) {
			t.Fatal("ZooKeeper does not serve")
		}
	}
	return address
}

// fourLetters asks with one of the words that ZooKeeper answers outside of its protocol.
func fourLetters(t testing.TB, address, word string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(replyPatience))
	_, _ = io.WriteString(conn, word)
	text, _ := io.ReadAll(conn)
	return string(text)
}

// juteWriter builds a packet in ZooKeeper's encoding.
type juteWriter struct{ b []byte }

func (w *juteWriter) int(n int32)   { w.b = bigendian.BigEndian.AppendUint32(w.b, uint32(n)) }
func (w *juteWriter) long(n int64)  { w.b = bigendian.BigEndian.AppendUint64(w.b, uint64(n)) }
func (w *juteWriter) bool(v bool)   { w.b = append(w.b, map[bool]byte{true: 1}[v]) }
func (w *juteWriter) text(s string) { w.int(int32(len(s))); w.b = append(w.b, s...) }
func (w *juteWriter) texts(list []string) {
	w.int(int32(len(list)))
	for _, s := range list {
		w.text(s)
	}
}

// openACL lets everybody do everything.
func (w *juteWriter) openACL() {
	w.int(1)
	w.int(31)
	w.text("world")
	w.text("anyone")
}

// juteReader takes a packet apart. A packet that ends too early gives zeros, and broken.
type juteReader struct {
	b      []byte
	broken bool
}

func (r *juteReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.broken, r.b = true, nil
		return make([]byte, max(min(n, 8), 0))
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *juteReader) int() int32  { return int32(bigendian.BigEndian.Uint32(r.take(4))) }
func (r *juteReader) long() int64 { return int64(bigendian.BigEndian.Uint64(r.take(8))) }
func (r *juteReader) bool() bool  { return r.take(1)[0] == 1 }

// text reads a string or a buffer. None, and an empty one, are the same here.
func (r *juteReader) text() string {
	n := r.int()
	if n < 0 {
		return ""
	}
	return string(r.take(int(n)))
}

func (r *juteReader) texts() (list []string) {
	for n := r.int(); n > 0 && !r.broken; n-- {
		list = append(list, r.text())
	}
	return list
}

// zkOps are the numbers of the requests in scripts.
var zkOps = map[string]int32{
	"create": 1, "delete": 2, "exists": 3, "get": 4, "set": 5, "getacl": 6, "children": 8, "sync": 9, "ping": 11,
	"children2": 12, "check": 13, "multi": 14, "create2": 15, "checkwatches": 17, "removewatches": 18, "createcontainer": 19,
	"createttl": 21, "multiread": 22, "setwatches": 101, "ephemerals": 103, "countall": 104, "setwatches2": 105,
	"addwatch": 106, "close": -11,
}

// zkModes are the flags of a create.
var zkModes = map[string]int32{"p": 0, "e": 1, "ps": 2, "es": 3, "c": 4, "ttl": 5, "ttls": 6}

// zkServer is one of the two, with the names of its numbers: the transaction ids and the sessions.
type zkServer struct {
	address  string
	zxids    map[int64]string
	changes  map[int]int64 // zxids by the number of the request
	sessions map[int64]string
}

// zkConn is a connection to one server.
type zkConn struct {
	net.Conn
	server   *zkServer
	session  int64
	password string
	lastZxid int64
	events   []string // that came before the last answer
}

// zkDial connects, as a new client or with a session that is there, and tells what the server said.
func zkDial(t testing.TB, s *zkServer, millis int32, lastZxid, session int64, password string) (*zkConn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	c := &zkConn{Conn: conn, server: s}
	w := &juteWriter{}
	w.int(0)
	w.long(lastZxid)
	w.int(millis)
	w.long(session)
	w.text(password)
	w.bool(false)
	c.send(w.b)
	packet, err := c.packet()
	if err != nil {
		return c, gone(err)
	}
	r := &juteReader{b: packet}
	version, negotiated := r.int(), r.int()
	c.session = r.long()
	c.password = r.text()
	return c, fmt.Sprintf("connected: version %d, time-out %d, session %v, password of %d bytes, read-only %v, broken %v",
		version, negotiated, c.session != 0, len(c.password), r.bool(), r.broken)
}

func gone(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "(no answer)"
	}
	return "(closed)"
}

func (c *zkConn) send(packet []byte) {
	_, _ = c.Write(append(bigendian.BigEndian.AppendUint32(nil, uint32(len(packet))), packet...)) // whoever reads sees it
}

func (c *zkConn) packet() ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(replyPatience))
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	packet := make([]byte, bigendian.BigEndian.Uint32(head))
	_, err := io.ReadFull(c, packet)
	return packet, err
}

// answer reads until an answer comes, and keeps the events in front of it. It shows the header, with the body for those
// that have one.
func (c *zkConn) answer(show func(r *juteReader) string, named func(zxid int64)) string {
	c.events = nil
	for {
		packet, err := c.packet()
		if err != nil {
			return gone(err)
		}
		r := &juteReader{b: packet}
		xid, zxid, code := r.int(), r.long(), r.int()
		if xid == -1 {
			c.events = append(c.events, showEvent(zxid, code, r))
			continue
		}
		text := fmt.Sprintf("xid %d err %d", xid, code)
		if zxid < c.lastZxid && zxid >= 0 {
			text += " (its zxid goes back)"
		}
		c.lastZxid = max(c.lastZxid, zxid)
		if code == 0 && named != nil {
			named(zxid)
		}
		if show != nil && (code == 0 || len(r.b) > 0) {
			text += " " + show(r)
		}
		if r.broken || len(r.b) > 0 {
			text += fmt.Sprintf(" (broken %v, %d bytes left)", r.broken, len(r.b))
		}
		return text
	}
}

func showEvent(zxid int64, code int32, r *juteReader) string {
	return fmt.Sprintf("event zxid %d err %d type %d state %d path %s", zxid, code, r.int(), r.int(), r.text())
}

// event waits for an event.
func (c *zkConn) event() string {
	packet, err := c.packet()
	if err != nil {
		return gone(err)
	}
	r := &juteReader{b: packet}
	if xid := r.int(); xid != -1 {
		return fmt.Sprintf("(an answer to %d)", xid)
	}
	return showEvent(r.long(), r.int(), r)
}

// stat shows what of a Stat both servers have in common: its zxids by name, and of its times only that they are there.
func (c *zkConn) stat(r *juteReader) string {
	zxid := func() string {
		n := r.long()
		if name, ok := c.server.zxids[n]; ok || n == 0 {
			return name
		}
		return "?"
	}
	czxid, mzxid := zxid(), zxid()
	ctime, mtime := r.long(), r.long()
	now := time.Now().UnixMilli()
	sane := func(millis int64) bool { return max(now-millis, millis-now) < 60_000 }
	text := fmt.Sprintf("{czxid %s mzxid %s times %v version %d cversion %d aversion %d", czxid, mzxid,
		sane(ctime) && sane(mtime) && ctime <= mtime, r.int(), r.int(), r.int())
	owner := r.long()
	name, ok := c.server.sessions[owner]
	if !ok && owner != 0 {
		name = "unknown"
	}
	return text + fmt.Sprintf(" owner %q length %d children %d pzxid %s}", name, r.int(), r.int(), zxid())
}

// zkRequest is a request with the way to show its answer.
type zkRequest struct {
	op     int32
	body   juteWriter
	writes bool
	since  string // of setWatches: the change after which to look
	show   func(c *zkConn, r *juteReader) string
}

func showNothing(*zkConn, *juteReader) string      { return "" }
func showText(_ *zkConn, r *juteReader) string     { return strconv.Quote(r.text()) }
func showStat(c *zkConn, r *juteReader) string     { return c.stat(r) }
func showPathStat(c *zkConn, r *juteReader) string { return strconv.Quote(r.text()) + " " + c.stat(r) }
func showNames(_ *zkConn, r *juteReader) string {
	names := r.texts()
	slices.Sort(names) // their order is nobody's promise
	return fmt.Sprintf("%q", names)
}
func showNamesStat(c *zkConn, r *juteReader) string { return showNames(c, r) + " " + c.stat(r) }
func showNumber(_ *zkConn, r *juteReader) string    { return fmt.Sprint(r.int()) }
func showACLs(c *zkConn, r *juteReader) string {
	var b strings.Builder
	for n := r.int(); n > 0 && !r.broken; n-- {
		fmt.Fprintf(&b, "%d %s:%s ", r.int(), r.text(), r.text())
	}
	return b.String() + c.stat(r)
}

// showMulti shows the results of the items.
func showMulti(c *zkConn, r *juteReader) string {
	byType := map[int32]func(*zkConn, *juteReader) string{
		1: showText, 2: showNothing, 4: showPathStat, 5: showStat, 8: showNames, 13: showNothing, 15: showPathStat,
		19: showPathStat, 21: showPathStat, -1: showNumber,
	}
	var b strings.Builder
	for !r.broken {
		kind, done, code := r.int(), r.bool(), r.int()
		fmt.Fprintf(&b, "[%d %v %d", kind, done, code)
		if done {
			return b.String() + "]"
		}
		show := byType[kind]
		if show == nil {
			return b.String() + " what is that?]"
		}
		b.WriteString(" " + show(c, r) + "] ")
	}
	return b.String()
}
