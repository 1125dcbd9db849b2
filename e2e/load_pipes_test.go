package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Pipelines: clients that send several writes without waiting for answers. What one connection sent is carried out in its
// order. A ZooKeeper session's writes are moreover a beginning of what was sent: none is carried out if one before it was
// not. Every write creates a key of the feed, whose log tells what happened, and in which order.

const pipeLength = 8

// batch is what was sent in one go on one connection.
type batch struct {
	keys   []string
	prefix bool // what happened is a beginning of it
}

type pipes struct {
	*feeds
	mu      sync.Mutex // guards batches
	batches []batch
}

func (f *faults) pipeLoad(w *feeds) {
	p := &pipes{feeds: w}
	for place := range f.places {
		f.work(fmt.Sprintf("zk@%d pipe", place), func(ctx context.Context, _ *rand.Rand, h *hand) { p.zk(ctx, h, place) })
		f.work(fmt.Sprintf("redis@%d pipe", place), func(ctx context.Context, _ *rand.Rand, h *hand) { p.redis(ctx, h, place) })
	}
	f.finally(p.check)
}

// next draws the keys of a batch.
func (p *pipes) next(name string, n int, prefix bool) (keys []string) {
	for i := range pipeLength {
		keys = append(keys, fmt.Sprintf("%s%s-%d-%d", feedPrefix, name, n, i))
	}
	p.mu.Lock()
	p.batches = append(p.batches, batch{keys, prefix})
	p.mu.Unlock()
	p.feeds.mu.Lock()
	for _, key := range keys {
		p.tried[feedEvent{key: key}] = true
	}
	p.feeds.mu.Unlock()
	return keys
}

// acked notes that a key was created for sure.
func (p *pipes) acked(key string) {
	p.feeds.mu.Lock()
	p.wrote[feedEvent{key: key}] = 0
	p.feeds.mu.Unlock()
}

func (p *pipes) zk(ctx context.Context, h *hand, place int) {
	line := &zkLine{address: p.f.addresses[place].zk, timeout: lockTTL}
	defer func() { line.close() }()
	for n := 0; h.next(ctx, 8*feedPace); n++ {
		if line.gone {
			line.renew()
		}
		keys := p.next(fmt.Sprintf("zkpipe%d", place), n, true)
		answered, err := p.sendAll(line, keys)
		for _, key := range keys[:answered] {
			p.acked(key)
			h.count(done, nil)
		}
		if err != nil {
			line.hangUp()
			h.count(zkFate(err), err)
		}
	}
}

// sendAll sends the creates, and says how many were answered with success before the first that was not.
func (p *pipes) sendAll(line *zkLine, keys []string) (answered int, err error) {
	if line.conn == nil {
		if err := line.connect(); err != nil {
			return 0, err
		}
	}
	for _, key := range keys {
		body := &juteWriter{}
		body.text(key)
		body.text("")
		body.openACL()
		body.int(0)
		if _, err := line.send(zkOps["create"], body); err != nil {
			return 0, err
		}
	}
	for answered < len(keys) {
		_, _, code, err := line.receive()
		if err != nil {
			return answered, err
		}
		if code != 0 {
			line.gone = line.gone || code == zkExpired
			return answered, code
		}
		answered++
	}
	return answered, nil
}

func (p *pipes) redis(ctx context.Context, h *hand, place int) {
	client := bareRedis(p.f.addresses[place].resp)
	defer client.Close()
	for n := 0; h.next(ctx, 8*feedPace); n++ {
		keys := p.next(fmt.Sprintf("redispipe%d", place), n, false)
		within, cancel := contextFor(opPatience)
		replies, err := client.Pipelined(within, func(pipe redis.Pipeliner) error {
			for _, key := range keys {
				pipe.Set(within, key, "", 0)
			}
			return nil
		})
		cancel()
		for i, reply := range replies {
			if reply.Err() == nil && reply.(*redis.StatusCmd).Val() == "OK" {
				p.acked(keys[i])
				h.count(done, nil)
			}
		}
		if err != nil {
			h.count(redisFate(err), err)
		}
	}
}

func (p *pipes) check() {
	for _, b := range p.batches {
		if err := p.log.checkBatch(b); err != nil {
			p.f.violated("%v", err)
		}
	}
}

// checkBatch looks for a batch in the log: in its order, and if it has to be, a beginning of it.
func (l *feedLog) checkBatch(b batch) error {
	last, missing := int64(0), ""
	for _, key := range b.keys {
		at, there := l.find(feedEvent{key: key})
		switch {
		case !there && missing == "":
			missing = key
		case !there:
		case missing != "" && b.prefix:
			return fmt.Errorf("%s was created at revision %d, and %s not, which was sent before it", key, at.revision, missing)
		case at.revision < last:
			return fmt.Errorf("%s was created at revision %d, and what was sent before it at %d", key, at.revision, last)
		default:
			last = at.revision
		}
	}
	return nil
}
