package raftlog

import (
	"testing"
	"testing/synctest"
	"time"
)

// ticksOf asks how much time has passed for a node, by its own reckoning.
func ticksOf(n *Node) uint64 {
	answer := make(chan uint64, 1)
	n.ask(func(d *driver) { answer <- d.ticks })
	return <-answer
}

func TestTimeRestsForALoneLeaderWithNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		n := startGated(t, testConfig(t, "unused", newRecorder(0)), gate)
		defer mustStop(t, n)
		before := ticksOf(n)
		time.Sleep(time.Hour)
		if passed := ticksOf(n) - before; passed > 3 {
			t.Errorf("%d ticks passed in an idle hour", passed)
		}

		mustPropose(t, n, 1, 1)
		before = ticksOf(n)
		time.Sleep(100 * n.cfg.TickInterval) // while the proposal is being written
		if passed := ticksOf(n) - before; passed < 99 {
			t.Errorf("%d ticks passed while a proposal waited for 100", passed)
		}
		gate <- struct{}{}
		synctest.Wait()
	})
}

func TestTimePassesForALeaderWithALearner(t *testing.T) {
	for conf, rests := range map[string]bool{"alone": true, "with a learner": false} {
		learners := []uint64(nil)
		if !rests {
			learners = []uint64{8}
		}
		state, err := decodeConf(NewConf([]uint64{7}, learners))
		if err != nil {
			t.Fatal(err)
		}
		d := &driver{n: &Node{}, leading: true, members: newMembership(state, 7)}
		if d.rests() != rests {
			t.Errorf("%s: rests is %v", conf, !rests)
		}
	}
}
