package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// forgetful members keep so little of the log that whoever was away for a while needs a snapshot.
func forgetful(cfg *Config) {
	cfg.CatchUpBytes, cfg.MemtableBytes = 64<<10, 256<<10
}

// outgrow writes until the log of before is let go.
func (c *testCluster) outgrow(i int, times int) {
	c.t.Helper()
	for n := range times {
		c.do(i, putOp(fmt.Sprint("/fill/", n%50), strings.Repeat("x", 4000)))
	}
}

// told gathers what a node tells of leases and sessions.
type told struct {
	mu    sync.Mutex
	ended []int64
	moved map[int64]uint64
}

func (n *clusterNode) listen() *told {
	heard := &told{moved: map[int64]uint64{}}
	n.OnLeaseEnd(func(ids []int64) {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		heard.ended = append(heard.ended, ids...)
	})
	n.OnSessionMoved(func(id int64, owner uint64) {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		heard.moved[id] = owner
	})
	return heard
}

func sessionOp(id int64, password string, owner uint64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: id, TtlMillis: 3_600_000, Password: []byte(password), Owner: owner}}}
}

// A member that was away so long that it gets a snapshot is brought up in all that follows the state.
func TestEverythingFollowsAnInstalledSnapshot(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		away := c.follower()
		n := c.nodes[away]
		leader := c.leader()
		c.do(leader, putOp("seen", "1"))
		c.do(leader, sessionOp(1, "", 0))
		c.do(leader, sessionOp(2, "", 0))
		c.do(leader, sessionOp(3, "secret", 30))
		c.do(leader, sessionOp(4, "secret", 40))
		c.do(leader, &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("old"), TtlMillis: 3_600_000}}})
		c.checkReplicas()
		heard := n.listen()
		feed := n.Hub().NewFeed()
		defer feed.Close()
		mustWatch(t, feed, 1, Watch{Match: MatchKey, Key: []byte("seen")})
		mustWatch(t, feed, 2, Watch{Match: MatchPublish, Key: []byte("channel")})
		mustWatch(t, feed, 3, Watch{Match: MatchSubtree, Key: []byte("/tree")})
		drainFeed(feed)

		c.cut(away)
		c.do(leader, putOp("seen", "2"))
		c.do(leader, &corepb.Op{Op: &corepb.Op_Publish{Publish: &corepb.Publish{Channel: []byte("channel"), Payload: []byte("lost")}}})
		c.do(leader, &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: 2}}})
		c.do(leader, &corepb.Op{Op: &corepb.Op_SessionResume{SessionResume: &corepb.SessionResume{Id: 3, Password: []byte("secret"), TtlMillis: 3_600_000, Owner: 31}}})
		c.do(leader, sessionOp(5, "", 0))
		c.do(leader, &corepb.Op{Op: &corepb.Op_NodeCreate{NodeCreate: &corepb.NodeCreate{Path: "/tree"}}})
		c.do(leader, putOp("seen", "3"))
		c.outgrow(leader, 200)
		before := n.Status().AppliedIndex
		c.net.Heal()
		c.await("the snapshot", func() bool { return n.Status().AppliedIndex > before })
		c.do(leader, putOp("seen", "4"))
		c.checkReplicas()
		if got := c.get(away, "seen", Linearizable); got != "4" {
			t.Errorf("it reads %q", got)
		}
		if names, err := n.fs.List("data/state"); err != nil || slices.Contains(names, "engine-000001") {
			t.Errorf("no snapshot was installed: %v %v", names, err)
		}

		// Watches have their events, and the one without a history knows that it has missed something.
		var values []string
		var lost, created bool
		for _, notice := range drainFeed(feed) {
			for _, e := range notice.Events {
				values = append(values, string(e.Record.Value))
			}
			lost = lost || notice.Lost && notice.ID == 2
			created = created || len(notice.Nodes) > 0 && notice.Nodes[0].Change == storage.NodeCreated
		}
		if !slices.Equal(values, []string{"2", "3", "4"}) || !lost || !created {
			t.Errorf("the watches were told %q, lost %v, created %v", values, lost, created)
		}
		heard.mu.Lock()
		if !slices.Equal(heard.ended, []int64{2}) || len(heard.moved) != 1 || heard.moved[3] != 31 {
			t.Errorf("told were the ends of %v and the moves %v", heard.ended, heard.moved)
		}
		heard.mu.Unlock()

		// It may lead: leases that it never saw granted have their time, and keys their deadlines.
		if err := c.nodes[leader].MoveLeader(context.Background(), n.MemberID()); err != nil {
			t.Fatal(err)
		}
		c.leader()
		for id, lives := range map[int64]bool{1: true, 2: false, 3: true, 5: true} {
			left, ok, err := n.LeaseRemaining(context.Background(), id)
			if err != nil || ok != lives || ok && left < 3_590_000 {
				t.Errorf("lease %d has %d ms left (%v), %v", id, left, ok, err)
			}
		}
		// And it starts again with what it has.
		c.crash(away)
		c.net.Heal()
		c.start(away)
		c.do(away, putOp("seen", "5"))
		c.checkReplicas()
	}, forgetful)
}

// Power fails at random moments while a member is sent one snapshot after the other.
func TestAMemberThatCrashesWhileItCatchesUpGetsThere(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		away := c.follower()
		for round := range 8 {
			c.cut(away)
			leader := c.leader(c.others(away)...)
			c.outgrow(leader, 120)
			c.net.Heal()
			n := c.nodes[away]
			index := n.Status().AppliedIndex
			moved := make(chan struct{})
			go func() {
				defer close(moved)
				_ = n.views.wait(context.Background(), n.done, func(s *storage.State) bool { return s.AppliedIndex > index })
			}()
			select {
			case <-moved:
			case <-time.After(time.Duration(round) * 30 * time.Millisecond):
			}
			c.crash(away)
			<-moved
			c.net.Heal()
			c.start(away)
			c.checkReplicas()
		}
	}, forgetful)
}

// The watches of a member that gets a snapshot which has forgotten what it missed are told so.
func TestAWatchIsToldWhenASnapshotHasForgotten(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		away := c.follower()
		n := c.nodes[away]
		leader := c.leader()
		c.do(leader, putOp("k", "1"))
		c.checkReplicas()
		feed := n.Hub().NewFeed()
		defer feed.Close()
		mustWatch(t, feed, 1, Watch{Match: MatchKey, Key: []byte("k")})
		c.cut(away)
		c.outgrow(leader, 200)
		compacted := c.nodes[leader].Revision()
		c.do(leader, &corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: compacted}}})
		c.net.Heal()
		c.await("the notice", func() bool {
			for _, notice := range feed.Next(100) {
				if notice.Compacted == compacted {
					return true
				}
				t.Errorf("told was %+v", notice)
			}
			return false
		})
		if err := n.WaitPurged(context.Background(), compacted); err != nil {
			t.Fatal(err)
		}
		c.checkReplicas()
	}, forgetful)
}

// stateSnapshots does for a log what raftlog.Snapshots promises, files, resumption and all.
func TestAStateTravelsAsFiles(t *testing.T) {
	ctx := context.Background()
	here := openStore(t, t.TempDir())
	for i := range 50 {
		if _, err := here.Do(ctx, oneOp(putOp(fmt.Sprint("k", i), "v"))); err != nil {
			t.Fatal(err)
		}
	}
	applied := here.Status().AppliedIndex
	snapshot, err := stateSnapshots{here}.Create(ctx, applied)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Release()
	if snapshot.Meta().Index < applied || len(snapshot.Meta().Conf) == 0 {
		t.Errorf("the snapshot is %+v", snapshot.Meta())
	}
	there, err := storage.Open(storage.Options{Dir: "state", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	receiver := &Store{db: there, measures: newMeasures()}
	in, err := stateSnapshots{receiver}.Receive(snapshot.Meta(), snapshot.Files())
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Finish(); err == nil {
		t.Error("an empty snapshot is whole")
	}
	for _, f := range snapshot.Files() {
		if err := sendFile(snapshot, f, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(in.Finish(), in.Close()); err != nil {
		t.Fatal(err)
	}
	called := false
	m := &machine{db: there, installed: func(before *storage.View) { called = before.State().AppliedIndex == 0 }}
	if err := m.Install(snapshot.Meta()); err != nil || !called {
		t.Fatalf("installing: %v, told %v", err, called)
	}
	if got, want := stateRowsOf(t, there), stateRowsOf(t, here.db); got != want {
		t.Errorf("the states differ:\n%s", difference(want, got))
	}
	if meta := installedMeta(there); meta == nil || meta.Index != snapshot.Meta().Index {
		t.Errorf("installed was %+v", meta)
	}
}

func sendFile(from raftlog.Snapshot, f raftlog.SnapshotFile, to raftlog.Incoming) error {
	file, err := from.Open(f.Name)
	if err != nil {
		return err
	}
	defer file.Close()
	content := make([]byte, f.Bytes)
	if _, err := file.ReadAt(content, 0); err != nil && err != io.EOF {
		return err
	}
	return to.Write(f.Name, 0, content)
}

// stateRowsOf are all rows but the progress of purges and the state row.
func stateRowsOf(t *testing.T, db *storage.DB) string {
	var rows []string
	for row := range strings.Lines(dump(t, db)) {
		if !strings.HasPrefix(row, `"\x01`) {
			rows = append(rows, row)
		}
	}
	return strings.Join(rows, "")
}
