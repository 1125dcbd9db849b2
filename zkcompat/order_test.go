package zkcompat

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
)

func TestAPipelinedReadSeesTheWritesBeforeItAndNoneAfterIt(t *testing.T) {
	s := startServer(t, Options{InFlightMax: 16})
	c := s.connect()
	c.create("/fifo", "-1", modePersistent)
	const rounds = 300
	go func() { // the server stops reading while too much is unanswered
		for i := range rounds {
			for range i%3 + 1 {
				c.send(5, setBody("/fifo", strconv.Itoa(i), -1))
			}
			c.send(opGetData, watchBody("/fifo", false))
		}
	}()
	xid, zxid := int32(1), int64(0)
	next := func() reply {
		xid++
		r := c.want(c.answer(xid), codeOK)
		if r.zxid < zxid {
			t.Fatalf("zxid %d after %d", r.zxid, zxid)
		}
		zxid = r.zxid
		return r
	}
	for i := range rounds {
		for range i%3 + 1 {
			next()
		}
		if data := string(next().body.bytes()); data != strconv.Itoa(i) {
			t.Fatalf("round %d read %s", i, data)
		}
	}
}

func TestPipelinedWritesShareLogEntries(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/q", "", modePersistent)
	before := s.store.Status().RaftIndex
	const writes = 500
	var frames encoder
	for range writes {
		c.xid++
		start := len(frames.buf)
		frames.int32(0)
		frames.int32(c.xid)
		frames.int32(5)
		setBody("/q", "x", -1)(&frames)
		frames.buf[start+3] = byte(len(frames.buf) - start - 4)
	}
	c.raw(frames.buf)
	for i := range int32(writes) {
		r := c.want(c.answer(c.xid-writes+1+i), codeOK)
		if stat := readStat(r.body); stat.Version != i+1 {
			t.Fatalf("write %d made version %d", i, stat.Version)
		}
	}
	if entries := s.store.Status().RaftIndex - before; entries > writes/4 {
		t.Errorf("%d writes took %d log entries", writes, entries)
	}
}

// Every change of a node makes one event for a persistent watch, so a client can count: when an answer shows version N,
// exactly the events of N changes have come. One too few and an answer has overtaken an event; one too many and an event
// has overtaken an answer.
func TestEventsAndAnswersComeInTheOrderOfTheChanges(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/o", "", modePersistent)
	addWatch(c, "/o", addPersistent)

	stop := make(chan struct{})
	var others sync.WaitGroup
	for i := range 3 {
		others.Go(func() {
			other := s.connect()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i == 0 {
					s.do(put("/o", "put"))
				} else {
					other.set("/o", "set")
				}
			}
		})
	}
	const rounds = 400
	go func() {
		for i := range rounds {
			if i%3 == 0 {
				c.send(5, setBody("/o", "mine", -1))
			} else {
				c.send(opGetData, watchBody("/o", false))
			}
		}
	}()
	first := int32(3)
	for i := range int32(rounds) {
		r := c.want(c.answer(first+i), codeOK)
		if i%3 != 0 {
			r.body.bytes()
		}
		if stat := readStat(r.body); int(stat.Version) != len(c.events) {
			t.Errorf("an answer shows version %d after %d events", stat.Version, len(c.events))
			break
		}
	}
	close(stop)
	others.Wait()
}

// A one-shot watch that is set again by the read that looks at the change never misses the last change.
func TestAOneShotWatchNeverMissesTheLastChange(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/last", "0", modePersistent)
	const changes = 300
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range changes {
			s.do(put("/last", strconv.Itoa(i+1)))
		}
	})
	for {
		data, _ := c.get("/last", true)
		if data == strconv.Itoa(changes) {
			break
		}
		c.event()
	}
	writer.Wait()
	wantEvents(t, c.take())
}

func TestAReadAfterSyncSeesWhatOthersWereAnswered(t *testing.T) {
	for _, linearizable := range []bool{false, true} {
		s := startServer(t, Options{LinearizableReads: linearizable})
		reader, writer := s.connect(), s.connect()
		writer.create("/s", "", modePersistent)
		for i := range 100 {
			want := fmt.Sprint(i)
			writer.set("/s", want)
			if !linearizable {
				reader.send(9, pathBody("/s"))
				reader.want(reader.answer(reader.xid), codeOK)
			}
			if data, _ := reader.get("/s", false); data != want {
				t.Fatalf("read %s after a write of %s", data, want)
			}
		}
	}
}
