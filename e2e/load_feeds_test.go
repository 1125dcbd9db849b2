package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Feeds: clients of all protocols create and delete keys, and watchers of all protocols at every place are told.

const (
	feedPrefix = "/w/"
	feedMarker = feedPrefix + "end"
	feedPace   = 50 * time.Millisecond
)

// feeds are the watchers, and what writers know of their writes.
type feeds struct {
	f   *faults
	log *feedLog

	watching sync.WaitGroup // ends when the marker has been told, or the time is over
	telling  sync.WaitGroup // ends with ctx
	ctx      context.Context
	end      context.CancelFunc

	mu        sync.Mutex // guards all below
	wrote     map[feedEvent]int64
	tried     map[feedEvent]bool
	stretches map[string][][]feedEvent // by the watcher's name
	published map[message]bool
	heard     map[string][][]message
}

func (f *faults) feedLoad() *feeds {
	w := &feeds{
		f: f, log: newFeedLog(), wrote: map[feedEvent]int64{}, tried: map[feedEvent]bool{}, stretches: map[string][][]feedEvent{},
		published: map[message]bool{}, heard: map[string][][]message{},
	}
	w.ctx, w.end = context.WithCancel(context.Background())
	from := w.revision() + 1
	for place := range f.places {
		w.watching.Go(func() { w.watchEtcd(place, from) })
		w.telling.Go(func() { w.watchZK(place) })
		w.telling.Go(func() { w.watchRedis(place) })
		w.telling.Go(func() { w.subscribe(place) })
		name := []string{"etcd", "redis", "zk"}[place%3]
		f.work(fmt.Sprintf("%s@%d feed", name, place), func(ctx context.Context, rng *rand.Rand, h *hand) {
			client := f.keyClients(place)[name]
			defer client.close()
			w.write(ctx, rng, h, client, fmt.Sprintf("%s%d", name, place))
		})
		f.work(fmt.Sprintf("redis@%d publish", place), func(ctx context.Context, _ *rand.Rand, h *hand) { w.publish(ctx, h, place) })
	}
	f.finally(w.finish)
	f.t.Cleanup(func() { // of a test that ended early
		w.end()
		w.watching.Wait()
		w.telling.Wait()
	})
	return w
}

// revision is the present one.
func (w *feeds) revision() (revision int64) {
	kv := pb.NewKVClient(dialEtcd(w.f.t, w.f.addresses[0].etcd))
	eventually(w.f.t, "the revision", func() error {
		ctx, cancel := contextFor(opPatience)
		defer cancel()
		r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("/")})
		if err == nil {
			revision = r.Header.Revision
		}
		return err
	})
	return revision
}

// write creates keys, each once, and deletes them after a while.
func (w *feeds) write(ctx context.Context, rng *rand.Rand, h *hand, client keyClient, name string) {
	var there []string
	for n := 0; h.next(ctx, feedPace); n++ {
		e := feedEvent{key: fmt.Sprintf("%s%s-%d", feedPrefix, name, n)}
		in := keyInput{deed: doCreate, value: "v"}
		if len(there) > 20 || len(there) > 0 && rng.IntN(3) == 0 {
			i := rng.IntN(len(there))
			e = feedEvent{there[i], true}
			there = slices.Delete(there, i, i+1)
			in = keyInput{deed: doDelete}
		}
		w.mu.Lock()
		w.tried[e] = true
		w.mu.Unlock()
		out, known, err := client.do(e.key, in)
		h.count(known, err)
		if known != done {
			continue
		}
		if !out.took {
			w.f.violated("%s: %v had no effect", h.name, e)
			continue
		}
		if !e.deleted {
			there = append(there, e.key)
		}
		w.mu.Lock()
		w.wrote[e] = out.after.revision
		w.mu.Unlock()
	}
}

// --- etcd ---

// watchEtcd watches at one place until it is told the marker, and goes on where it was when a stream ends.
func (w *feeds) watchEtcd(place int, from int64) {
	watcher := &feedWatcher{log: w.log, name: fmt.Sprintf("etcd@%d", place), revision: from - 1}
	conn := dialEtcd(w.f.t, w.f.addresses[place].etcd)
	for w.ctx.Err() == nil {
		ended, err := w.watchStream(watcher, pb.NewWatchClient(conn))
		if ended {
			return
		}
		if err != nil && !etcdExpected(err) && w.ctx.Err() == nil {
			w.f.violated("%s, after revision %d: %v", watcher.name, watcher.revision, err)
			return
		}
		select {
		case <-w.ctx.Done():
		case <-time.After(w.f.pace()):
		}
	}
	if w.f.t.Failed() {
		return
	}
	w.f.violated("%s was not told the end; its last revision is %d, event %d", watcher.name, watcher.revision, watcher.position)
}

// watchStream follows one stream. It asks for the server's progress now and then.
func (w *feeds) watchStream(watcher *feedWatcher, client pb.WatchClient) (ended bool, err error) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	stream, err := client.Watch(ctx)
	if err != nil {
		return false, err
	}
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(feedPrefix), RangeEnd: []byte(feedPrefix[:len(feedPrefix)-1] + "0"), StartRevision: watcher.revision + 1,
	}}})
	if err != nil {
		return false, err
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(300 * time.Millisecond):
				_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
			}
		}
	})
	watcher.promised = 0
	for {
		r, err := stream.Recv()
		if err != nil {
			return false, err
		}
		if r.Canceled {
			if r.CancelReason == "" || strings.Contains(r.CancelReason, "no leader") || strings.Contains(r.CancelReason, "stopped") {
				return false, nil
			}
			return false, fmt.Errorf("cancelled: %s (compacted at %d)", r.CancelReason, r.CompactRevision)
		}
		if r.Created {
			continue
		}
		for _, e := range r.Events {
			known := feedEvent{string(e.Kv.Key), e.Type == mvccpb.DELETE}
			if err := watcher.tell(known, e.Kv.ModRevision, e.Kv.Version); err != nil {
				return false, err
			}
			ended = ended || known.key == feedMarker
		}
		if ended {
			return true, nil
		}
		if len(r.Events) == 0 {
			watcher.promised = max(watcher.promised, r.Header.Revision)
		}
	}
}

// --- ZooKeeper ---

// watchZK has a persistent recursive watch at one place. What it is told on one connection is a stretch.
func (w *feeds) watchZK(place int) {
	name := fmt.Sprintf("zk@%d", place)
	var stretch []feedEvent
	line := &zkLine{address: w.f.addresses[place].zk, timeout: 6 * time.Second}
	line.events = func(kind int32, path string) {
		if strings.HasPrefix(path, feedPrefix) && (kind == 1 || kind == 2) {
			stretch = append(stretch, feedEvent{path, kind == 2})
		}
	}
	defer line.hangUp()
	body := &juteWriter{}
	body.text(strings.TrimSuffix(feedPrefix, "/"))
	body.int(1) // persistent and recursive
	for w.ctx.Err() == nil {
		if line.gone {
			line.renew()
		}
		_, err := line.ask(zkOps["addwatch"], body)
		for err == nil && w.ctx.Err() == nil {
			// A ping shows that the connection lives, and reads what has come.
			if _, err = line.send(zkOps["ping"], nil); err != nil {
				break
			}
			for answered := int32(0); err == nil && answered != zkPingXid; {
				_, answered, _, err = line.receive()
			}
			select {
			case <-w.ctx.Done():
			case <-time.After(feedPace):
			}
		}
		line.hangUp()
		if err != nil && !zkExpected(err) {
			w.f.violated("%s, watching: %v", name, err)
			return
		}
		w.endStretch(name, &stretch)
		select {
		case <-w.ctx.Done():
		case <-time.After(w.f.pace()):
		}
	}
}

func (w *feeds) endStretch(name string, stretch *[]feedEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(*stretch) > 0 {
		w.stretches[name] = append(w.stretches[name], *stretch)
	}
	*stretch = nil
}

// --- Redis ---

// watchRedis is subscribed to keyspace notifications at one place.
func (w *feeds) watchRedis(place int) {
	name := fmt.Sprintf("redis@%d", place)
	const channel = "__keyspace@0__:"
	for w.ctx.Err() == nil {
		var stretch []feedEvent
		w.receive(place, channel+feedPrefix+"*", func(at, text string) {
			key := strings.TrimPrefix(at, channel)
			switch text {
			case "set", "new":
				stretch = append(stretch, feedEvent{key, false})
			case "del", "expired":
				stretch = append(stretch, feedEvent{key, true})
			}
		})
		w.endStretch(name, &stretch)
	}
}

// receive subscribes with one connection, and gives what comes until that ends.
func (w *feeds) receive(place int, pattern string, told func(channel, text string)) {
	client := bareRedis(w.f.addresses[place].resp)
	defer client.Close()
	subscription := client.PSubscribe(w.ctx, pattern)
	defer subscription.Close()
	stop := context.AfterFunc(w.ctx, func() { subscription.Close() })
	defer stop()
	for {
		m, err := subscription.ReceiveMessage(w.ctx)
		if err != nil {
			select {
			case <-w.ctx.Done():
			case <-time.After(feedPace):
			}
			return
		}
		told(m.Channel, m.Payload)
	}
}

// publish sends numbers.
func (w *feeds) publish(ctx context.Context, h *hand, place int) {
	client := bareRedis(w.f.addresses[place].resp)
	defer client.Close()
	name := "p" + strconv.Itoa(place)
	for n := int64(1); h.next(ctx, feedPace); n++ {
		within, cancel := contextFor(opPatience)
		err := client.Publish(within, "feed-"+name, n).Err()
		cancel()
		switch {
		case err == nil:
			h.count(done, nil)
			w.mu.Lock()
			w.published[message{name, n}] = true
			w.mu.Unlock()
		default:
			h.count(redisFate(err), err)
		}
	}
}

func (w *feeds) subscribe(place int) {
	name := fmt.Sprintf("redis@%d", place)
	for w.ctx.Err() == nil {
		var stretch []message
		w.receive(place, "feed-*", func(channel, text string) {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				w.f.violated("%s was told %q", name, text)
			}
			stretch = append(stretch, message{strings.TrimPrefix(channel, "feed-"), n})
		})
		w.mu.Lock()
		w.heard[name] = append(w.heard[name], stretch)
		w.mu.Unlock()
	}
}

// --- the end ---

// finish writes the marker, waits until every etcd watcher was told, and checks all.
func (w *feeds) finish() {
	t := w.f.t
	client := newEtcdKeys(t, w.f.addresses[0].etcd)
	eventually(t, "the last write of the feed", func() error {
		out, known, err := client.do(feedMarker, keyInput{deed: doCreate})
		if err == nil && known == done && !out.took {
			return nil // an earlier try did it
		}
		return err
	})
	watched := make(chan struct{})
	go func() { w.watching.Wait(); close(watched) }()
	select {
	case <-watched:
	case <-time.After(patience):
	}
	w.end()
	<-watched
	w.telling.Wait()
	w.check()
}

func (w *feeds) check() {
	f := w.f
	for e, revision := range w.wrote {
		if at, ok := w.log.find(e); !ok || revision != 0 && at.revision != revision {
			f.violated("%v was acknowledged at revision %d; the watches were told of it: %v, at %d", e, revision, ok, at.revision)
		}
	}
	for e := range w.log.at {
		if e.key != feedMarker && !w.tried[e] {
			f.violated("the watches were told %v, which nobody asked for", e)
		}
	}
	told := 0
	for name, stretches := range w.stretches {
		for _, stretch := range stretches {
			told += len(stretch)
			if err := w.log.checkStretch(name, stretch); err != nil {
				f.violated("%v", err)
			}
		}
	}
	heard := 0
	var all [][]message
	for _, name := range slices.Sorted(maps.Keys(w.heard)) {
		for _, stretch := range w.heard[name] {
			heard += len(stretch)
			all = append(all, stretch)
			if err := checkMessages(name, stretch, func(m message) bool { return w.published[m] }); err != nil {
				f.violated("%v", err)
			}
		}
	}
	for i := range all {
		for j := range i {
			if err := checkOneOrder(all[i], all[j]); err != nil {
				f.violated("%v", err)
			}
		}
	}
	f.t.Logf("%d events in the feed; %d told on ZooKeeper and Redis connections; %d of %d messages heard by subscribers",
		len(w.log.events), told, heard, len(w.published))
	if told == 0 || heard == 0 {
		f.t.Error("nothing was told")
	}
}
