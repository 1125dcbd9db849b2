package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sys/unix"
)

// Disks that are full. A member that cannot write ends, with a word that says why, and keeps what it acknowledged; the
// others go on.

// limitFiles keeps a process from making any file longer than it may be now that it is small: every write beyond 64 KiB
// of a file fails. It needs no rights and works on every Linux, unlike a file system that is really full.
func (m *member) limitFiles() error {
	limit := unix.Rlimit{Cur: 64 << 10, Max: unix.RLIM_INFINITY}
	return unix.Prlimit(m.process.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil)
}

func TestAMemberThatCannotWriteEndsAndTheOthersGoOn(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.awaitLeader()
	for _, m := range []*member{leader, c.followers(leader)[0]} {
		if err := m.limitFiles(); err != nil {
			t.Fatal(err)
		}
		c.writeUntilEnd(m)
		c.start(m)
		c.awaitService()
	}
	c.sameEverywhere()
}

// writeUntilEnd writes at the other members until this one has ended by itself, and checks what was acknowledged.
func (c *cluster) writeUntilEnd(m *member) {
	c.t.Helper()
	others := c.followers(m)
	acked := 0
	for n, deadline := 0, time.Now().Add(patience); ; n++ {
		select {
		case <-m.exited:
			m.up.Store(false)
		default:
		}
		if !m.up.Load() {
			break
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s cannot write and goes on", m.name)
		}
		ctx, cancel := contextFor(opPatience)
		_, err := pb.NewKVClient(others[n%len(others)].admin).Put(ctx, &pb.PutRequest{
			Key: []byte("/disk/" + m.name), Value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 16<<10)),
		})
		cancel()
		if err == nil {
			acked = n
		} else if !etcdExpected(err) {
			c.t.Errorf("write %d: %v", n, err)
		}
	}
	if m.exit == nil {
		c.t.Errorf("%s ended without an error\n%s", m.name, m.log())
	}
	eventually(c.t, "a read at the others", func() error {
		ctx, cancel := contextFor(opPatience)
		defer cancel()
		r, err := pb.NewKVClient(others[0].admin).Range(ctx, &pb.RangeRequest{Key: []byte("/disk/" + m.name)})
		if err != nil {
			return err
		}
		stored := -1
		if len(r.Kvs) > 0 {
			_, _ = fmt.Sscan(string(r.Kvs[0].Value), &stored)
		}
		if stored < acked {
			c.t.Errorf("write %d is there, and %d was acknowledged", stored, acked)
		}
		return nil
	})
}

// The same on a file system that is really full, where one can be made: that takes root.
func TestAMemberOnAFullFileSystemEndsAndComesBackWithRoom(t *testing.T) {
	c := newCluster(t, 3)
	small := c.all()[2]
	if err := os.MkdirAll(small.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small.data, "tmpfs", 0, "size=192m,mode=700"); err != nil {
		t.Skipf("no small file system can be mounted here (%v): TestAMemberThatCannotWriteEnds stands for it", err)
	}
	t.Cleanup(func() {
		c.stop()
		_ = syscall.Unmount(small.data, 0)
	})
	for _, m := range c.all() {
		c.spawn(m)
	}
	for _, m := range c.all() {
		m.awaitPing()
	}
	c.awaitService()
	var space syscall.Statfs_t
	if err := syscall.Statfs(small.data, &space); err != nil {
		t.Fatal(err)
	}
	ballast := small.data + "/ballast"
	room := int64(space.Bavail)*space.Bsize - 64<<10
	if err := os.WriteFile(ballast, make([]byte, room), 0o600); err != nil {
		t.Fatal(err)
	}
	c.writeUntilEnd(small)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.start(small)
	c.awaitService()
	c.sameEverywhere()
}
