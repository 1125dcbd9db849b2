package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// fakeMember answers as a member would, so that answers that are hard to come by can be tried.
type fakeMember struct {
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer

	address string
	status  pb.StatusResponse
	members []*pb.Member
	alarms  []*pb.AlarmMember
	blobs   [][]byte
	failure error         // that a backup ends with
	silence chan struct{} // a backup waits for it before its end
}

func startFakeMember(t *testing.T, m *fakeMember) *fakeMember {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	m.status.Header = &pb.ResponseHeader{ClusterId: 0xc, MemberId: 0xa}
	server := grpc.NewServer()
	pb.RegisterClusterServer(server, m)
	pb.RegisterMaintenanceServer(server, m)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return m
}

func (m *fakeMember) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	return &pb.MemberListResponse{Members: m.members}, nil
}

func (m *fakeMember) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	grpc.SetHeader(ctx, metadata.Pairs(versionMetadata, "1.2.3"))
	return &m.status, nil
}

func (m *fakeMember) Alarm(context.Context, *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	return &pb.AlarmResponse{Alarms: m.alarms}, nil
}

func (m *fakeMember) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	for i, blob := range m.blobs {
		left := 0
		for _, later := range m.blobs[i+1:] {
			left += len(later)
		}
		if err := stream.Send(&pb.SnapshotResponse{Blob: blob, RemainingBytes: uint64(left)}); err != nil {
			return err
		}
	}
	if m.silence != nil {
		select {
		case <-m.silence:
		case <-stream.Context().Done():
		}
	}
	return m.failure
}

func TestTheStatusHasALineForEveryMember(t *testing.T) {
	m := startFakeMember(t, &fakeMember{status: pb.StatusResponse{Leader: 0xa, RaftTerm: 7, RaftIndex: 12, RaftAppliedIndex: 11, DbSize: 3 << 20}})
	m.members = []*pb.Member{
		{ID: 0xd, PeerURLs: []string{"http://x:1"}},
		{ID: 0xa, Name: "a", ClientURLs: []string{"http://" + steadyAddress(t), "http://" + m.address}}, // the second address answers
		{ID: 0xb, Name: "b", ClientURLs: []string{"http://" + steadyAddress(t)}, IsLearner: true},
	}
	m.alarms = []*pb.AlarmMember{{MemberID: 0xb, Alarm: pb.AlarmType_CORRUPT}}
	var stdout, stderr bytes.Buffer
	code := run([]string{"status", "--endpoints", m.address}, &stdout, &stderr)
	for _, want := range []string{"NAME", "leader  ", "7     12     11       3.0 MiB", " ms", "1.2.3", "unreachable", "CORRUPT", "not started"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, stdout.String())
		}
	}
	for _, want := range []string{"b does not answer at 127.0.0.1:", "refused", "000000000000000d was added and not started", "b has the alarm CORRUPT"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not in\n%s", want, stderr.String())
		}
	}
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestAMemberWithALeaderIsPreferred(t *testing.T) {
	lost, led := startFakeMember(t, &fakeMember{}), startFakeMember(t, &fakeMember{status: pb.StatusResponse{Leader: 1}})
	dead := steadyAddress(t)
	for _, c := range []struct {
		endpoints []string
		want      string
	}{
		{[]string{dead, lost.address, led.address}, led.address},
		{[]string{"http://" + led.address + "/", lost.address}, led.address},
		{[]string{dead, lost.address}, lost.address},
	} {
		m, err := (&clientFlags{endpoints: c.endpoints}).connect(t.Context())
		if err != nil || m.endpoint != c.want {
			t.Errorf("%v: %v, %v", c.endpoints, m, err)
			continue
		}
		m.close()
	}
	for _, endpoints := range [][]string{nil, {dead}, {"here"}, {"https://" + led.address}} {
		if _, err := (&clientFlags{endpoints: endpoints}).connect(t.Context()); err == nil {
			t.Errorf("%v: connected", endpoints)
		}
	}
}

func TestABackupGetsItsNameWhenAllOfItIsThere(t *testing.T) {
	content := bytes.Repeat([]byte("state"), 1000)
	sum := sha256.Sum256(content)
	whole := [][]byte{content[:2000], content[2000:], sum[:16], sum[16:]}
	wrong := [][]byte{content[:2000], content[2001:], sum[:]}
	for _, c := range []struct {
		name string
		fake *fakeMember
		want string // error; empty = none
	}{
		{"whole", &fakeMember{blobs: whole}, ""},
		{"a byte is missing", &fakeMember{blobs: wrong}, "checksum"},
		{"nothing", &fakeMember{}, "checksum"},
		{"an end that is an error", &fakeMember{blobs: whole, failure: status.Error(codes.Unavailable, "etcdserver: server stopped")}, "server stopped"},
		{"no end", &fakeMember{blobs: whole, silence: make(chan struct{})}, "silent for 100ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := startFakeMember(t, c.fake)
			m, err := (&dialer{}).dial(t.Context(), fake.address)
			if err != nil {
				t.Fatal(err)
			}
			defer m.close()
			path := filepath.Join(t.TempDir(), "backup.db")
			if err := os.WriteFile(path, []byte("the one before"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantContent, patience := "the one before", time.Minute
			if c.fake.silence != nil {
				patience = 100 * time.Millisecond
			}
			if c.want == "" {
				wantContent = string(content) + string(sum[:])
			}
			var done, total int64
			_, err = m.save(t.Context(), patience, formatBackup, path, func(d, of int64) { done, total = d, of })
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if got, _ := os.ReadFile(path); string(got) != wantContent {
				t.Errorf("the file has %d bytes", len(got))
			}
			if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what was begun is left: %v", err)
			}
			if c.want == "" && (done != int64(len(wantContent)) || total != done) {
				t.Errorf("progress ended at %d of %d", done, total)
			}
		})
	}
}
