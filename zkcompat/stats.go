package zkcompat

import (
	"sync/atomic"
	"time"
)

// latency sums up how long answers took.
type latency struct {
	count, sum atomic.Int64 // sum in nanoseconds
	least      atomic.Int64 // plus one, so that 0 means none
	most       atomic.Int64
}

func (l *latency) add(took time.Duration) {
	n := int64(max(0, took))
	l.count.Add(1)
	l.sum.Add(n)
	for seen := l.least.Load(); (seen == 0 || n+1 < seen) && !l.least.CompareAndSwap(seen, n+1); seen = l.least.Load() {
	}
	for seen := l.most.Load(); n > seen && !l.most.CompareAndSwap(seen, n); seen = l.most.Load() {
	}
}

// millis gives least, average and most in milliseconds.
func (l *latency) millis() (least int64, average float64, most int64) {
	millis := int64(time.Millisecond)
	if count := l.count.Load(); count > 0 {
		average = float64(l.sum.Load()) / float64(count) / float64(millis)
	}
	return max(0, l.least.Load()-1) / millis, average, l.most.Load() / millis
}

// serverStats counts for the whole server.
type serverStats struct {
	received, sent, outstanding atomic.Int64
	refused                     atomic.Int64 // authentications
	latency                     latency
	ops                         [64]opStats // by the rows' index
}

type opStats struct{ count, errors, nanos atomic.Int64 }

func (s *serverStats) answered(op *opcode, took time.Duration, failure code) {
	s.outstanding.Add(-1)
	s.latency.add(took)
	row := &s.ops[op.index]
	row.count.Add(1)
	row.nanos.Add(int64(took))
	if failure != codeOK {
		row.errors.Add(1)
	}
	if failure == codeAuthFailed {
		s.refused.Add(1)
	}
}

// connCounters counts for one connection, for the words that list connections.
type connCounters struct {
	received, sent atomic.Int64
	lastOp         atomic.Pointer[opcode]
	lastXid        atomic.Int32
	lastZxid       atomic.Int64
	lastAnswer     atomic.Int64 // Unix milliseconds
	lastTook       atomic.Int64 // nanoseconds
	latency        latency
}

func (c *connCounters) answered(r *request, zxid int64, took time.Duration) {
	c.lastOp.Store(r.op)
	c.lastXid.Store(r.xid)
	c.lastZxid.Store(zxid)
	c.lastAnswer.Store(r.received.Add(took).UnixMilli())
	c.lastTook.Store(int64(took))
	c.latency.add(took)
}

// OpMetric is what is counted for one kind of request.
type OpMetric struct {
	Name   string
	Count  int64 // answers, those with an error included
	Errors int64
	Total  time.Duration // from a request's arrival to its answer, summed
}

// Metrics is what the server counts, since it was made.
type Metrics struct {
	Connections      int
	PacketsReceived  int64
	PacketsSent      int64
	Outstanding      int64 // requests read and not answered
	Watches          int64
	SessionsHere     int // sessions with a connection to this node
	AuthFailures     int64
	Ops              []OpMetric // in the order of the opcode table
	LatencyMostMilli int64
}

// Metrics gives the present counts.
func (s *Server) Metrics() Metrics {
	_, _, most := s.stats.latency.millis()
	m := Metrics{
		PacketsReceived: s.stats.received.Load(), PacketsSent: s.stats.sent.Load(), Outstanding: s.stats.outstanding.Load(),
		AuthFailures: s.stats.refused.Load(), LatencyMostMilli: most,
	}
	s.mu.Lock()
	m.Connections, m.SessionsHere = len(s.conns), len(s.sessions)
	for c := range s.conns {
		m.Watches += int64(c.watches.len())
	}
	s.mu.Unlock()
	for i := range opcodeTable {
		row := &s.stats.ops[i]
		m.Ops = append(m.Ops, OpMetric{opcodeTable[i].name, row.count.Load(), row.errors.Load(), time.Duration(row.nanos.Load())})
	}
	return m
}
