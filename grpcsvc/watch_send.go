package grpcsvc

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

// Bounds of what is taken from the feed at a time, and of one message to a watcher that catches up. A revision's events
// always stay together, so both may be exceeded by one revision.
//
// What is taken is held until it is sent, which to a client that does not read is never. A stream therefore begins with
// eventsFirst, and takes twice as many each time that it filled its bound and got rid of them all: one that is stuck holds
// about as much as its client's window lets through, and one that catches up soon has few looks at the log.
const (
	eventsFirst     = 64
	eventsMax       = 1000
	messageBytesMax = 1 << 20
	eventBytesEach  = 64 // what an event takes beside its key and values, roughly
)

// deliver sends what the feed has, up to a bound. When there is no more, the stream is in step with the store, and
// progress can be told.
func (w *watchStream) deliver() error {
	notices := w.feed.Next(w.bound)
	w.behind = len(notices) != 0
	if !w.behind {
		w.bound = eventsFirst
		return w.tellProgress()
	}
	taken := 0
	for i := range notices {
		taken += len(notices[i].Events)
	}
	begun, meters := time.Now(), w.opts.Meters
	meters.waiting.Add(int64(taken))
	events, messages := 0, 0
	defer func() {
		meters.waiting.Add(-int64(taken)) // those that are not sent are gone with the stream
		meters.sent(events, messages, time.Since(begun))
	}()
	for i := range notices {
		n, m, err := w.send(&notices[i])
		events, messages = events+n, messages+m
		if err != nil {
			return err
		}
	}
	if taken >= w.bound {
		w.bound = min(2*w.bound, eventsMax)
	}
	return nil
}

// send tells one watcher what happened to it, and says how many events it sent, in how many messages.
func (w *watchStream) send(notice *core.Notice) (sent, messages int, err error) {
	watcher := w.watchers[notice.ID]
	switch {
	case watcher == nil || watcher.compacted:
		return 0, 0, nil
	case notice.Err != nil:
		return 0, 0, statusOf(notice.Err)
	case notice.Compacted != 0:
		watcher.compacted = true
		return 0, 0, w.sendCompacted(watcher.id, notice.Compacted)
	}
	events := watcher.events(notice.Events, w.store.Compacted())
	for len(events) != 0 {
		watcher.quiet = false
		n := messageLength(events)
		// The revision is the store's, which for a watcher that catches up is beyond that of its events.
		revision := max(w.store.Revision(), events[n-1].Kv.ModRevision)
		response := &pb.WatchResponse{Header: w.header(revision), WatchId: watcher.id, Events: events[:n]}
		if err := w.sendEvents(watcher, response); err != nil {
			return sent, messages, err
		}
		sent, messages = sent+n, messages+1
		events = events[n:]
	}
	return sent, messages, nil
}

// messageLength says how many events make one message.
func messageLength(events []*mvccpb.Event) int {
	bytes := 0
	for i, e := range events {
		if bytes >= messageBytesMax && e.Kv.ModRevision != events[i-1].Kv.ModRevision {
			return i
		}
		bytes += len(e.Kv.Key) + len(e.Kv.Value) + len(e.PrevKv.GetValue()) + eventBytesEach
	}
	return len(events)
}

// eventCell is one event as etcd's messages want it.
type eventCell struct {
	event mvccpb.Event
	kv    mvccpb.KeyValue
}

// events words the events that the watcher's filters let through. As in etcd one that creates a key has no previous value, even
// where the key was deleted in the same revision; nor is a value part of them once it could not be read, because its revisions
// are compacted.
func (w *watcher) events(happened []*storage.Event, compacted int64) []*mvccpb.Event {
	cells := make([]eventCell, len(happened))
	events := make([]*mvccpb.Event, 0, len(happened))
	for _, e := range happened {
		if !w.wants(e) {
			continue
		}
		cell := &cells[len(events)]
		cell.fill(e)
		isCreate := e.Type == storage.EventPut && e.Record.CreateRevision == e.Revision
		if w.prevKV && !isCreate && e.Prev != nil && e.Prev.Kind == storage.KindBytes && e.Revision > compacted {
			cell.event.PrevKv = keyValue(e.Key, e.Prev)
		}
		events = append(events, &cell.event)
	}
	return events
}

// wants also keeps back what etcd knows nothing of, collections above all, should the feed ever give it.
func (w *watcher) wants(e *storage.Event) bool {
	switch e.Type {
	case storage.EventPut:
		return !w.noPut && e.Record.Kind == storage.KindBytes
	case storage.EventDelete:
		return !w.noDelete && (e.Prev == nil || e.Prev.Kind == storage.KindBytes)
	}
	return false
}

func (c *eventCell) fill(e *storage.Event) {
	c.event.Kv = &c.kv
	if e.Type == storage.EventDelete {
		c.event.Type = mvccpb.Event_DELETE
		c.kv.Key, c.kv.ModRevision = e.Key, e.Revision
		return
	}
	fillKeyValue(&c.kv, e.Key, &e.Record)
}

// sendEvents sends a response; where the watcher asked for that, in fragments when it is larger than the largest
// request. A fragment holds at least one event.
func (w *watchStream) sendEvents(watcher *watcher, response *pb.WatchResponse) error {
	bytesMax := w.opts.MaxRequestBytes + messageOverheadBytes
	if !watcher.fragment || len(response.Events) < 2 || proto.Size(response) < bytesMax {
		return w.stream.Send(response)
	}
	events := response.Events
	for len(events) != 0 {
		part := &pb.WatchResponse{Header: response.Header, WatchId: response.WatchId, Fragment: true}
		n, bytes := 0, proto.Size(part)
		for n < len(events) {
			bytes += repeatedSize(events[n])
			if n > 0 && bytes >= bytesMax {
				break
			}
			n++
		}
		part.Events, events = events[:n], events[n:]
		part.Fragment = len(events) != 0
		if err := w.stream.Send(part); err != nil {
			return err
		}
	}
	return nil
}

// repeatedSize is what an event takes within a response.
func repeatedSize(e *mvccpb.Event) int {
	const eventsField = 11 // of WatchResponse
	return protowire.SizeTag(eventsField) + protowire.SizeBytes(proto.Size(e))
}

// tellProgress sends what is due to a stream whose every watcher has been sent all up to the feed's progress.
func (w *watchStream) tellProgress() error {
	if w.progressAsked == 0 && !w.tickDue {
		return nil
	}
	revision := w.feed.Progress()
	if revision == 0 { // something happened just now
		w.behind = true
		return nil
	}
	defer w.opts.Meters.sendProgress.Since(time.Now())
	asked, tick := w.progressAsked, w.tickDue
	w.progressAsked, w.tickDue = 0, false
	if tick {
		if err := w.notifyQuiet(revision); err != nil {
			return err
		}
	}
	for ; asked > 0 && w.listening(); asked-- {
		answer := &pb.WatchResponse{Header: w.header(revision), WatchId: noWatcher}
		if err := w.stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

// notifyQuiet tells the watchers that want it, and have been sent nothing for an interval, how far they are.
func (w *watchStream) notifyQuiet(revision int64) error {
	for _, watcher := range w.watchers {
		if !watcher.progress || watcher.compacted {
			continue
		}
		if watcher.quiet {
			answer := &pb.WatchResponse{Header: w.header(revision), WatchId: watcher.id}
			if err := w.stream.Send(answer); err != nil {
				return err
			}
		}
		watcher.quiet = true
	}
	return nil
}

// listening reports whether the stream has a watcher that still gets events.
func (w *watchStream) listening() bool {
	for _, watcher := range w.watchers {
		if !watcher.compacted {
			return true
		}
	}
	return false
}
