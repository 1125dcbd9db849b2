package resp

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

var pubsubCommands = []*command{
	{
		name: "publish", arity: 3, flags: flagPubsub | always | flagFast, since: "2.0.0", group: "pubsub",
		args: "channel message", summary: "Sends a message to a channel's subscribers, on every node.",
		plan: planPublish,
	}, {
		name: "subscribe", arity: -2, flags: flagPubsub | session | flagSubscribed, since: "2.0.0", group: "pubsub",
		args: "channel...", summary: "Receives the messages of channels.",
		run: func(c *conn, q *request) { c.subscribe("subscribe", q.args[1:], false) },
	}, {
		name: "psubscribe", arity: -2, flags: flagPubsub | session | flagSubscribed, since: "2.0.0", group: "pubsub",
		args: "pattern...", summary: "Receives the messages of every channel that matches a pattern.",
		run: func(c *conn, q *request) { c.subscribe("psubscribe", q.args[1:], true) },
	}, {
		name: "unsubscribe", arity: -1, flags: flagPubsub | session | flagSubscribed, since: "2.0.0", group: "pubsub",
		args: "[channel...]", summary: "Receives the messages of channels, or of any, no more.",
		run: func(c *conn, q *request) { c.unsubscribe("unsubscribe", q.args[1:], false) },
	}, {
		name: "punsubscribe", arity: -1, flags: flagPubsub | session | flagSubscribed, since: "2.0.0", group: "pubsub",
		args: "[pattern...]", summary: "Receives the messages of patterns, or of any, no more.",
		run: func(c *conn, q *request) { c.unsubscribe("punsubscribe", q.args[1:], true) },
	}, {
		name: "pubsub", arity: -2, since: "2.8.0", group: "pubsub", summary: "Tells who is subscribed on this node.",
		subs: []*command{
			{
				name: "channels", arity: -2, flags: flagPubsub | always, since: "2.8.0", args: "[pattern]",
				summary: "Lists channels that have subscribers.", run: runPubsubChannels,
			}, {
				name: "numsub", arity: -2, flags: flagPubsub | always, since: "2.8.0", args: "[channel...]",
				summary: "Counts the subscribers of channels.", run: runPubsubNumSub,
			}, {
				name: "numpat", arity: 2, flags: flagPubsub | always, since: "2.8.0",
				summary: "Counts the patterns that are subscribed to.",
				run:     func(c *conn, _ *request) { c.out.int(int64(c.srv.pubsub.patternCount())) },
			}, {
				name: "help", arity: 2, flags: always, since: "6.2.0", summary: "Lists the subcommands.", run: runHelp,
			},
		},
	},
}

// pubsub hands published messages and keyspace notifications to the subscribers of this server. Both come out of the log,
// in its order.
type pubsub struct {
	srv    *Server
	done   chan struct{} // closed when run has returned
	misses atomic.Bool   // reads of absent keys are told

	mu       sync.Mutex // guards the fields below, and the order of delivery
	feed     *core.Feed
	notify   notifier
	channels map[string]map[*conn]struct{}
	patterns map[string]map[*conn]struct{}
}

// subscriptions are a connection's own. They belong to its goroutine.
type subscriptions struct {
	channels, patterns map[string]struct{}
}

func (s *subscriptions) total() int { return len(s.channels) + len(s.patterns) }

func newPubsub(srv *Server, hub *core.Hub) *pubsub {
	p := &pubsub{
		srv: srv, done: make(chan struct{}), feed: hub.NewFeed(),
		channels: map[string]map[*conn]struct{}{}, patterns: map[string]map[*conn]struct{}{},
	}
	p.notify.send = func(channel, payload []byte) { p.send(channel, payload, true) }
	// A watch from now on of every channel: nothing that Add could refuse.
	if err := p.feed.Add(watchMessages, core.Watch{Match: core.MatchPublish, End: []byte{0}}); err != nil {
		srv.opts.Logger.Error("published messages cannot be received", "err", err)
	}
	return p
}

// run delivers messages until stop closes.
func (p *pubsub) run(stop <-chan struct{}) {
	defer close(p.done)
	for {
		select {
		case <-stop:
			p.mu.Lock()
			p.feed.Close()
			p.mu.Unlock()
			return
		case <-p.feed.Ready():
			p.mu.Lock()
			p.deliver()
			p.mu.Unlock()
		}
	}
}

// deliver hands over every message that was published until now. The caller holds mu. Messages are in the feed before
// whoever published them has an answer, so that delivering before subscribing keeps older ones from a new subscriber,
// and delivering after publishing makes sure that its own has been sent.
//
// The same goes for notifications. Those wait for what may come before them on another space's watch: when the feed was
// emptied, everything that the store had shown before is complete. A message does not overtake the notifications of what
// was done before it.
func (p *pubsub) deliver() {
	complete := p.srv.store.Revision()
	lost := 0
	var messages []*storage.Event
	for notices := p.feed.Next(noticesMax); len(notices) > 0; notices = p.feed.Next(noticesMax) {
		for i := range notices {
			notice := &notices[i]
			if notice.ID != watchMessages {
				lost += btoi(p.collect(notice))
				continue
			}
			if notice.Lost {
				p.srv.stats.lostFeeds.Add(1)
				p.srv.opts.Logger.Warn("messages to subscribers were lost: they came faster than they could be delivered")
			}
			messages = append(messages, notice.Events...)
		}
		if len(p.notify.pending) > pendingMax {
			p.notify.tell(math.MaxInt64)
		}
	}
	if lost > 0 {
		p.srv.stats.lostFeeds.Add(1)
		p.srv.opts.Logger.Warn("keyspace notifications were lost: keys changed faster than they could be told")
	}
	for _, m := range messages {
		p.notify.tell(m.Revision)
		p.srv.stats.published.Add(1)
		p.send(m.Key, m.Record.Value, false)
	}
	p.notify.tell(max(complete, p.feed.Progress()))
}

// collect takes the changes of a space, and reports whether some were lost.
func (p *pubsub) collect(notice *core.Notice) (lost bool) {
	for _, event := range notice.Events {
		p.notify.add(event)
	}
	if notice.Compacted != 0 || notice.Err != nil { // the watch is over
		p.watchSpace(byte(notice.ID - watchSpaces))
		return true
	}
	return notice.Lost
}

// send puts a message into the output of all who want it. It is encoded once for each form in which it is received. While
// authentication is on, what names keys is for those who may read every key.
func (p *pubsub) send(channel, payload []byte, namesKeys bool) {
	enabled, _ := p.srv.store.AuthEnabled()
	secret := namesKeys && enabled
	if subscribers := p.channels[string(channel)]; len(subscribers) > 0 {
		p.sendTo(subscribers, "message", nil, channel, payload, secret)
	}
	for pattern, subscribers := range p.patterns {
		if globMatch([]byte(pattern), channel) {
			p.sendTo(subscribers, "pmessage", []byte(pattern), channel, payload, secret)
		}
	}
}

func (p *pubsub) sendTo(subscribers map[*conn]struct{}, word string, pattern, channel, payload []byte, secret bool) {
	var encoded [2][]byte // by protocol version
	for c := range subscribers {
		if secret && !c.public.seesKeys.Load() {
			continue
		}
		resp3 := c.public.resp3.Load()
		m := &encoded[btoi(resp3)]
		if *m == nil {
			*m = encodeMessage(resp3, word, pattern, channel, payload)
		}
		c.push(*m)
	}
}

func encodeMessage(resp3 bool, word string, pattern, channel, payload []byte) []byte {
	w := writer{resp3: resp3, buf: make([]byte, 0, len(pattern)+len(channel)+len(payload)+64)}
	w.pushHead(3 + btoi(pattern != nil))
	w.bulkString(word)
	if pattern != nil {
		w.bulk(pattern)
	}
	w.bulk(channel)
	w.bulk(payload)
	return w.buf
}

func planPublish(q *request) plan {
	channel := q.args[1]
	return single(&corepb.Op{Op: &corepb.Op_Publish{Publish: &corepb.Publish{Channel: channel, Payload: q.args[2]}}},
		func(w *writer, _ *core.Result) { w.int(int64(w.srv.pubsub.receivers(channel))) })
}

// receivers delivers what was published and counts the subscriptions of this node that a channel's messages go to.
func (p *pubsub) receivers(channel []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver()
	n := len(p.channels[string(channel)])
	for pattern, subscribers := range p.patterns {
		if globMatch([]byte(pattern), channel) {
			n += len(subscribers)
		}
	}
	return n
}

func (p *pubsub) table(pattern bool) map[string]map[*conn]struct{} {
	if pattern {
		return p.patterns
	}
	return p.channels
}

func (p *pubsub) subscribe(c *conn, name string, pattern bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver()
	table := p.table(pattern)
	if table[name] == nil {
		table[name] = map[*conn]struct{}{}
	}
	table[name][c] = struct{}{}
}

func (p *pubsub) unsubscribe(c *conn, name string, pattern bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	table := p.table(pattern)
	delete(table[name], c)
	if len(table[name]) == 0 {
		delete(table, name)
	}
}

// drop ends every subscription of a connection.
func (p *pubsub) drop(c *conn) {
	for name := range c.subs.channels {
		p.unsubscribe(c, name, false)
	}
	for name := range c.subs.patterns {
		p.unsubscribe(c, name, true)
	}
	c.subs = subscriptions{}
	c.public.subscribed(&c.subs)
}

func (p *pubsub) patternCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.patterns)
}
