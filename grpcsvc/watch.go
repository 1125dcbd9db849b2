package grpcsvc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
)

// watchService is etcdserverpb.Watch.
type watchService struct {
	pb.UnimplementedWatchServer
	*Server
}

// noWatcher is the id in answers that are about no watcher, or about all.
const noWatcher = -1

// Why a watcher could not be created, in etcd's words.
const (
	reasonEmptyRange  = "mvcc: watcher range is empty"
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
)

// watcher is one watch of a stream.
type watcher struct {
	id       int64
	prevKV   bool
	fragment bool
	noPut    bool
	noDelete bool
	progress bool // wants to be told when nothing happens
	quiet    bool // has been sent nothing since the last progress tick

	// compacted: what it should see next is gone. It is told and gets nothing more, but its id stays taken until the
	// client cancels it, as in etcd.
	compacted bool
}

// watchStream is one Watch call. Its handler goroutine owns all of it: requests, events and ticks come to it one at a
// time, so answers are in order by construction: a watcher's "created" goes out before the feed is read again. A client
// that does not read blocks its own handler in Send, and nothing else; what waits for it then is the feed's cursor.
type watchStream struct {
	*Server
	stream   pb.Watch_WatchServer
	feed     *core.Feed
	watchers map[int64]*watcher
	nextID   int64

	behind        bool // the feed may have more, whatever its Ready says
	bound         int  // events to take from the feed at a time
	progressAsked int  // progress requests to answer once the feed is read
	tickDue       bool // progress notifications to send once the feed is read
	notifying     int  // watchers that want those
	ticker        *time.Ticker
}

// Watch serves one stream of watches.
func (s *watchService) Watch(stream pb.Watch_WatchServer) error {
	ctx := stream.Context()
	w := &watchStream{
		Server: s.Server, stream: stream, feed: s.store.Hub().NewFeed(), watchers: make(map[int64]*watcher),
		bound: eventsFirst,
	}
	defer w.close()
	return watchEnd(w.run(ctx))
}

// watchEnd words the end of a stream.
func watchEnd(err error) error {
	if errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return statusOf(err)
}

func (w *watchStream) close() {
	w.feed.Close()
	if w.ticker != nil {
		w.ticker.Stop()
	}
}

// always is ready to be received from.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// run is the handler's loop. It returns why the stream ends.
func (w *watchStream) run(ctx context.Context) error {
	requests := receive(w.Server, w.stream)
	for {
		ready := w.feed.Ready()
		if w.behind {
			ready = always // still listening to requests, a cancel above all
		}
		var err error
		select {
		case r := <-requests:
			switch {
			case r.err == nil:
				err = w.handle(r.request)
			case r.err == io.EOF:
				requests = nil // the client has no more requests, and goes on listening
			default:
				err = r.err
			}
		case <-ready:
			err = w.deliver()
		case <-w.ticks():
			w.tickDue, w.behind = true, true
		case <-w.lifetime.Done():
			err = rpctypes.ErrGRPCStopped
		case <-w.feed.Done():
			err = rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// ticks paces progress notifications, while anybody wants them.
func (w *watchStream) ticks() <-chan time.Time {
	if w.notifying == 0 {
		return nil
	}
	if w.ticker == nil {
		w.ticker = time.NewTicker(w.opts.ProgressInterval)
	}
	return w.ticker.C
}

func (w *watchStream) handle(r *pb.WatchRequest) error {
	switch r := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		defer w.opts.Meters.sendControl.Since(time.Now())
		return w.create(r.CreateRequest)
	case *pb.WatchRequest_CancelRequest:
		defer w.opts.Meters.sendControl.Since(time.Now())
		return w.cancel(r.CancelRequest.WatchId)
	case *pb.WatchRequest_ProgressRequest:
		// Answered when the feed has been read, so that the answer is a promise about everything before it.
		w.progressAsked++
		w.behind = true
	}
	return nil // a request of no kind asks for nothing
}

func (w *watchStream) create(r *pb.WatchCreateRequest) error {
	revision := w.store.Revision()
	answer := &pb.WatchResponse{Header: w.header(revision), Created: true, WatchId: noWatcher}
	if reason := w.refusal(r); reason != "" {
		answer.Canceled, answer.CancelReason = true, reason
		return w.stream.Send(answer)
	}
	watcher := &watcher{
		id: r.WatchId, prevKV: r.PrevKv, fragment: r.Fragment, progress: r.ProgressNotify, quiet: true,
	}
	for _, filter := range r.Filters {
		watcher.noPut = watcher.noPut || filter == pb.WatchCreateRequest_NOPUT
		watcher.noDelete = watcher.noDelete || filter == pb.WatchCreateRequest_NODELETE
	}
	if watcher.id == 0 {
		for w.watchers[w.nextID] != nil {
			w.nextID++
		}
		watcher.id = w.nextID
		w.nextID++
	}
	err := w.feed.Add(watcher.id, coreWatch(r, revision))
	var gone *core.Error
	if errors.As(err, &gone) && gone.Code == core.CodeCompacted {
		watcher.compacted = true
	} else if err != nil {
		return statusOf(err)
	}
	w.watchers[watcher.id] = watcher
	if watcher.progress {
		w.notifying++
	}
	w.behind = true
	answer.WatchId = watcher.id
	if err := w.stream.Send(answer); err != nil {
		return err
	}
	if watcher.compacted {
		return w.sendCompacted(watcher.id, gone.Number)
	}
	return nil
}

// refusal says why a watcher cannot be created, in etcd's order of checks; empty when it can.
func (w *watchStream) refusal(r *pb.WatchCreateRequest) string {
	key, denied := watchKey(r.Key), w.denial(r)
	switch {
	case r.StartRevision < 0:
		return rpctypes.ErrCompacted.Error()
	case denied != "":
		return denied
	case len(r.RangeEnd) != 0 && !isToEnd(r.RangeEnd) && bytes.Compare(key, r.RangeEnd) >= 0:
		return reasonEmptyRange
	case r.WatchId != 0 && w.watchers[r.WatchId] != nil:
		return reasonDuplicateID
	}
	return ""
}

// denial says why the caller may not watch a range; empty when they may. It is asked once: what changes later does not
// end the watch, as in etcd.
func (w *watchStream) denial(r *pb.WatchCreateRequest) string {
	if enabled, _ := w.store.AuthEnabled(); !enabled {
		return ""
	}
	view, err := w.viewAt(w.stream.Context(), core.Local)
	if err != nil {
		return err.Error()
	}
	defer view.Close()
	if err := view.Permit(watchKey(r.Key), r.RangeEnd, false); err != nil {
		return statusOf(err).Error()
	}
	return ""
}

// watchKey is where a watch's range starts. In a watch, and only there, the empty key stands for the least one.
func watchKey(key []byte) []byte {
	if len(key) == 0 {
		return []byte{0}
	}
	return key
}

// coreWatch translates a watch that starts when the store is at a revision.
func coreWatch(r *pb.WatchCreateRequest, revision int64) core.Watch {
	from := r.StartRevision
	if from == 0 {
		from = revision + 1
	}
	return core.Watch{Match: core.MatchKey, Key: watchKey(r.Key), End: r.RangeEnd, From: from, Prev: r.PrevKv}
}

// cancel ends a watcher. As in etcd, one that is not there gets no answer.
func (w *watchStream) cancel(id int64) error {
	watcher := w.watchers[id]
	if watcher == nil {
		return nil
	}
	w.feed.Remove(id)
	delete(w.watchers, id)
	if watcher.progress {
		w.notifying--
	}
	return w.stream.Send(&pb.WatchResponse{Header: w.header(w.store.Revision()), WatchId: id, Canceled: true})
}

// sendCompacted tells that a watcher asked for history that is gone. Its header has no revision and the answer gives no
// reason but the revision from which on there is history; clientv3 makes an error of that.
func (w *watchStream) sendCompacted(id, compacted int64) error {
	return w.stream.Send(&pb.WatchResponse{
		Header: w.header(0), WatchId: id, Canceled: true, CompactRevision: compacted,
	})
}
