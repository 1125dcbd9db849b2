package raftlog

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// world is one simulated cluster: a clock, what is going to happen, and the dice. Everything happens on one goroutine,
// one event after the other, so that a seed is a schedule.
type world struct {
	seed   uint64
	dice   *rand.Rand
	now    time.Duration // since the beginning
	events schedule
	order  uint64 // of the next event
	steps  int

	plan    plan
	net     *network
	members []*simMember // every one there ever was, in the order of their ids
	truth   *truth
	clients *clients
	faults  *faults

	trace   *strings.Builder // nil: nobody reads it
	failure error            // the first one
}

// event is something that happens at a moment. Those of the same moment happen in the order in which they were planned.
type event struct {
	at    time.Duration
	order uint64
	run   func()
}

type schedule []event

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].order < s[j].order
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(e any)   { *s = append(*s, e.(event)) }
func (s *schedule) Pop() any {
	old := *s
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*s = old[:len(old)-1]
	return e
}

// after plans an event.
func (w *world) after(d time.Duration, run func()) {
	w.order++
	heap.Push(&w.events, event{w.now + d, w.order, run})
}

// until lets happen what is to happen before a moment. It ends early with a failure, or when done says so.
func (w *world) until(end time.Duration, done func() bool) bool {
	for w.failure == nil {
		if done != nil && done() {
			return true
		}
		if len(w.events) == 0 || w.events[0].at > end {
			w.now = end
			return done == nil
		}
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.steps++
		e.run()
	}
	return false
}

// fail records that something happened that must not.
func (w *world) fail(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
		w.say(0, "FAILED: %v", w.failure)
	}
}

// say writes a line of the trace: when, which member (0: none), what.
func (w *world) say(id uint64, format string, args ...any) {
	if w.trace == nil {
		return
	}
	who := "      -"
	if id != 0 {
		who = fmt.Sprintf("node %2d", id)
	}
	fmt.Fprintf(w.trace, "%11.6f %s  %s\n", w.now.Seconds(), who, fmt.Sprintf(format, args...))
}

// between draws a duration.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.dice.Int64N(int64(most-least)+1))
}

// chance says yes with a probability.
func (w *world) chance(p float64) bool { return p > 0 && w.dice.Float64() < p }

// one draws an element; the zero value of none.
func one[T any](w *world, of []T) (t T) {
	if len(of) == 0 {
		return t
	}
	return of[w.dice.IntN(len(of))]
}

// plan is what kind of world it is: drawn once from the seed, so that some are calm and some are not.
type plan struct {
	voters        int
	drop, double  float64       // of messages
	delay         time.Duration // the most, of a good link
	reorder       bool          // within a class too
	breaks        float64       // chance that a snapshot's transfer ends with a chunk
	faultEvery    time.Duration // on average
	proposeEvery  time.Duration
	readEvery     time.Duration
	changeEvery   time.Duration // of the membership; 0: never
	flushEvery    time.Duration
	length        time.Duration // of the part with faults
	catchUpBytes  int64
	entryBytesMax int
	entryCountMax int
	queueMax      int
	skew          time.Duration // of the members' clocks
	refuses       float64       // chance that the machine refuses a change
}

func (w *world) drawPlan() plan {
	p := plan{
		voters:        3 + 2*w.dice.IntN(2),
		delay:         w.between(time.Millisecond, 20*time.Millisecond),
		reorder:       w.chance(0.4),
		faultEvery:    w.between(150*time.Millisecond, 1200*time.Millisecond),
		proposeEvery:  w.between(15*time.Millisecond, 90*time.Millisecond),
		readEvery:     w.between(30*time.Millisecond, 150*time.Millisecond),
		flushEvery:    w.between(200*time.Millisecond, 2*time.Second),
		length:        w.between(4*time.Second, 9*time.Second),
		catchUpBytes:  int64(500 + w.dice.IntN(6000)),
		entryBytesMax: 200 + w.dice.IntN(2000),
		entryCountMax: 2 + w.dice.IntN(20),
		queueMax:      20 + w.dice.IntN(200),
		skew:          w.between(0, 3*time.Second),
		refuses:       0.1,
	}
	if w.chance(0.6) {
		p.drop = w.dice.Float64() * 0.1
	}
	if w.chance(0.5) {
		p.double = w.dice.Float64() * 0.1
	}
	if w.chance(0.6) {
		p.breaks = w.dice.Float64() * 0.3
	}
	if w.chance(0.1) {
		p.voters = 1 // which others join
	}
	if p.voters == 1 || w.chance(0.6) {
		p.changeEvery = w.between(200*time.Millisecond, 1500*time.Millisecond)
	}
	return p
}
