package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// watchLog reads one watch stream of one server and keeps, for each watcher, what came in its order. How events are
// put together into messages is the server's own affair.
type watchLog struct {
	stream   grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse]
	answers  chan *pb.WatchResponse // closed at the end of the stream; room for a burst
	items    map[int64][]string     // by watch id
	count    int                    // of all items
	begun    int                    // watchers asked for that were answered, also with a refusal
	progress int64                  // highest revision that progress was reported for
	broken   []string
	partial  map[int64]bool // watchers in the middle of a fragmented message
}

// twinWatch is a watch stream to each server.
type twinWatch struct {
	pair *etcdPair
	logs [2]*watchLog
}

// sentinelID is a watcher of each stream that sees nothing: a stream without watchers reports no progress.
const sentinelID = 1 << 40

func (p *etcdPair) watch() *twinWatch {
	p.t.Helper()
	w := &twinWatch{pair: p}
	for i, conn := range p.conns {
		ctx, cancel := context.WithCancel(p.ctx)
		p.t.Cleanup(cancel)
		stream, err := pb.NewWatchClient(conn).Watch(ctx)
		if err != nil {
			p.t.Fatal(err)
		}
		log := &watchLog{
			stream: stream, answers: make(chan *pb.WatchResponse, 1000), items: map[int64][]string{}, partial: map[int64]bool{},
		}
		go log.receive(ctx)
		w.logs[i] = log
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("\xff\xff sentinel"), WatchId: sentinelID})
	return w
}

// create makes a watcher and waits until both servers have it: what comes after is after its creation.
func (w *twinWatch) create(request *pb.WatchCreateRequest) {
	w.pair.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}})
	for i, l := range w.logs {
		had := l.begun
		if err := l.until(func() bool { return l.begun > had }, nil); err != nil {
			w.pair.t.Errorf("%s: server %d (0 is triglot, 1 etcd): %v", showMessage(request), i, err)
		}
	}
}

// receive ends with its stream.
func (l *watchLog) receive(ctx context.Context) {
	defer close(l.answers)
	for {
		answer, err := l.stream.Recv()
		if err != nil {
			return
		}
		select {
		case l.answers <- answer:
		case <-ctx.Done():
			return
		}
	}
}

func (w *twinWatch) send(request *pb.WatchRequest) {
	for _, l := range w.logs {
		_ = l.stream.Send(request) // the log shows that the stream is over
	}
}

// take adds an answer to the log.
func (l *watchLog) take(answer *pb.WatchResponse) {
	id := answer.WatchId
	control := answer.Created || answer.Canceled
	if answer.Created {
		l.begun++ // the answer to a cancelling of just before comes first
	}
	switch {
	case id == sentinelID:
		return
	case id == -1 && !control && len(answer.Events) == 0:
		l.progress = max(l.progress, answer.Header.Revision)
		return
	case control:
		l.count++
		l.items[id] = append(l.items[id], showAnswer(answer, nil))
		return
	}
	if answer.Fragment {
		l.partial[id] = true
	} else {
		delete(l.partial, id)
	}
	for _, event := range answer.Events {
		if event.Kv.ModRevision > answer.Header.Revision {
			l.broken = append(l.broken, fmt.Sprintf("an event of revision %d in an answer of %d", event.Kv.ModRevision, answer.Header.Revision))
		}
		l.count++
		l.items[id] = append(l.items[id], showMessage(event))
	}
}

// until reads until a condition holds.
func (l *watchLog) until(done func() bool, nudge func()) error {
	deadline := time.After(replyPatience)
	for !done() {
		var again <-chan time.Time
		if nudge != nil {
			nudge()
			again = time.After(20 * time.Millisecond) // etcd passes over a request for progress while it catches up
		}
		select {
		case answer, ok := <-l.answers:
			if !ok {
				return fmt.Errorf("the stream ended")
			}
			l.take(answer)
		case <-again:
		case <-deadline:
			return fmt.Errorf("nothing more came")
		}
	}
	return nil
}

// drain reads everything that both servers have to say about what happened until now, and compares it. It relies on
// reports of progress, of which etcd makes none as long as a watcher of the stream waits for a later revision, and no
// more once one has been cancelled by a compaction. A report of before a watcher was made says nothing about it: after a
// drain, a watcher that begins in the past needs a change before the next.
func (w *twinWatch) drain(what string) bool {
	w.pair.t.Helper()
	for i, l := range w.logs {
		err := l.until(func() bool { return l.progress >= w.pair.revision && len(l.partial) == 0 }, func() {
			_ = l.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		})
		if err != nil {
			w.pair.t.Errorf("%s: server %d (0 is triglot, 1 etcd): %v, at revision %d of %d", what, i, err, l.progress, w.pair.revision)
		}
	}
	return w.same(what)
}

// wait reads until each server has sent a number of items in all: events, and answers that a watcher begins or ends.
func (w *twinWatch) wait(what string, count int) bool {
	w.pair.t.Helper()
	for i, l := range w.logs {
		if err := l.until(func() bool { return l.count >= count }, nil); err != nil {
			w.pair.t.Errorf("%s: server %d (0 is triglot, 1 etcd): %v", what, i, err)
		}
	}
	return w.same(what)
}

// same compares what has come so far.
func (w *twinWatch) same(what string) bool {
	w.pair.t.Helper()
	ours, theirs := w.logs[0], w.logs[1]
	equal := true
	for _, l := range w.logs {
		if len(l.broken) > 0 {
			w.pair.t.Errorf("%s: %s", what, strings.Join(l.broken, "\n"))
			equal = false
		}
	}
	ids := map[int64]bool{}
	for _, l := range w.logs {
		for id := range l.items {
			ids[id] = true
		}
	}
	for id := range ids {
		a, b := ours.items[id], theirs.items[id]
		if slices.Equal(a, b) {
			delete(ours.items, id)
			delete(theirs.items, id)
			continue
		}
		equal = false
		first := 0
		for first < min(len(a), len(b)) && a[first] == b[first] {
			first++
		}
		show := func(items []string) string {
			if first >= len(items) {
				return fmt.Sprintf("%d items", len(items))
			}
			return fmt.Sprintf("%d items; item %d on:\n\t%s", len(items), first,
				clip(strings.Join(items[first:min(len(items), first+5)], "\n\t")))
		}
		w.pair.t.Errorf("%s: watcher %d\n    etcd: %s\n triglot: %s", what, id, show(b), show(a))
		delete(ours.items, id) // shown once
		delete(theirs.items, id)
	}
	return equal
}
