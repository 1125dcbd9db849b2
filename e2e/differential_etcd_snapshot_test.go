package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// saveSnapshot writes what a server of the pair sends to a file.
func (p *etcdPair) saveSnapshot(server int) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "snapshot.db")
	file, err := os.Create(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer file.Close()
	stream, err := pb.NewMaintenanceClient(p.conns[server]).Snapshot(p.ctx, &pb.SnapshotRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return path
		}
		if err == nil {
			_, err = file.Write(part.Blob)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// restoreInEtcd has a real etcd make a member of a snapshot, and gives its address.
func restoreInEtcd(t testing.TB, path string) string {
	t.Helper()
	peer, dir := freePorts(t, 1)[0], filepath.Join(t.TempDir(), "etcd")
	manager := snapshot.NewV3(zap.NewNop())
	if _, err := manager.Status(path); err != nil {
		t.Fatalf("etcdutl snapshot status: %v", err)
	}
	if err := manager.Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: "default", OutputDataDir: dir, PeerURLs: []string{"http://" + peer},
		InitialCluster: "default=http://" + peer, InitialClusterToken: "etcd-cluster",
	}); err != nil {
		t.Fatalf("etcdutl snapshot restore: %v", err)
	}
	return startEtcdIn(t, dir, peer)
}

// restoreHere has this server do so.
func restoreHere(t testing.TB, path string) string {
	t.Helper()
	peer, dir := freePorts(t, 1)[0], filepath.Join(t.TempDir(), "data")
	tool(t, binary, "snapshot", "status", path)
	tool(t, binary, "snapshot", "restore", path, "--data-dir", dir, "--advertise-peer", peer)
	return startServer(t, "--data-dir", dir, "--listen-peer", peer).etcd
}

// Each of the two takes the other's snapshot, and from then on they are the same as before: in what they have, in what
// watchers are told of the past, in who may do what, and in what further requests do.
func TestSnapshotsGoBothWays(t *testing.T) {
	p := startEtcdPair(t)
	g := &etcdGenerator{Rand: randomSource(t), pair: p}
	for range 400 {
		switch n := g.IntN(10); {
		case n < 4:
			p.compareMessage("Put", g.put())
		case n < 6:
			p.compareMessage("DeleteRange", g.deleteRange())
		case n < 9:
			p.compareMessage("Txn", g.txn(2))
		default:
			p.compareMessage("LeaseGrant", &pb.LeaseGrantRequest{ID: 1 + g.Int64N(3), TTL: 1000})
		}
	}
	g.compacted = p.revision / 2
	p.compareMessage("Compact", &pb.CompactionRequest{Revision: g.compacted, Physical: true})
	for _, call := range [][2]string{
		{"UserAdd", `name:"root" password:"secret" options:{}`}, {"UserGrantRole", `user:"root" role:"root"`},
		{"UserAdd", `name:"u" password:"p" options:{}`}, {"UserAdd", `name:"cn" options:{no_password:true}`},
		{"RoleAdd", `name:"root"`}, {"UserGrantRole", `user:"root" role:"root"`}, {"RoleAdd", `name:"r"`},
		{"RoleGrantPermission", `name:"r" perm:{permType:READWRITE key:"a" range_end:"b"}`},
		{"RoleGrantPermission", `name:"r" perm:{permType:READ key:"b"}`}, {"UserGrantRole", `user:"u" role:"r"`},
	} {
		p.compare(call[0], call[1])
	}
	if t.Failed() {
		t.Fatal("the two have differed before the snapshots")
	}

	swapped := pairOf(t, restoreHere(t, p.saveSnapshot(1)), restoreInEtcd(t, p.saveSnapshot(0)))
	if swapped.revision != p.revision {
		t.Fatalf("they are at revision %d, and were at %d", swapped.revision, p.revision)
	}
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	for all.Revision = g.compacted - 1; all.Revision <= p.revision+1; all.Revision++ {
		swapped.compareMessage("Range", all)
	}
	before, err := p.invoke(1, "Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	after, err2 := swapped.invoke(1, "Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if showAnswer(before, err) != showAnswer(after, err2) {
		t.Errorf("it was %s\nand is %s", showAnswer(before, err), showAnswer(after, err2))
	}
	w := swapped.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: g.compacted, PrevKv: true})
	w.drain("of the past")
	for _, lease := range []string{`ID:1 keys:true`, `ID:2 keys:true`, `ID:3 keys:true`} {
		swapped.compare("LeaseTimeToLive", lease)
	}
	for _, call := range [][2]string{
		{"UserList", ``}, {"UserGet", `name:"u"`}, {"UserGet", `name:"cn"`}, {"RoleList", ``}, {"RoleGet", `role:"r"`}, {"AuthStatus", ``},
	} {
		swapped.compare(call[0], call[1])
	}
	g.pair = swapped
	for range 200 {
		switch n := g.IntN(10); {
		case n < 5:
			swapped.compareMessage("Put", g.put())
		case n < 7:
			swapped.compareMessage("LeaseRevoke", &pb.LeaseRevokeRequest{ID: 1 + g.Int64N(3)})
		default:
			swapped.compareMessage("Txn", g.txn(2))
		}
	}
	w.drain("of what followed")

	swapped.compare("AuthEnable", ``)
	for _, user := range []string{`name:"u" password:"wrong"`, `name:"cn" password:"p"`, `name:"u" password:"p"`} {
		swapped.compare("Authenticate", user)
	}
	for server := range swapped.conns {
		answer, err := swapped.invoke(server, "Authenticate", &pb.AuthenticateRequest{Name: "u", Password: "p"})
		if err != nil {
			t.Fatal(err)
		}
		swapped.tokens[server] = answer.(*pb.AuthenticateResponse).Token
	}
	for _, call := range [][2]string{
		{"Put", `key:"ab"`}, {"Put", `key:"b"`}, {"Range", `key:"b"`}, {"Range", `key:"c"`}, {"UserList", ``},
	} {
		swapped.compare(call[0], call[1])
	}
}
