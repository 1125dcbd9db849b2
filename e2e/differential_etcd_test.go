package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/embed"
	electionpb "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	lockpb "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// startEtcd runs the real etcd in this process and gives its address.
func startEtcd(t testing.TB) string {
	t.Helper()
	return startEtcdIn(t, t.TempDir(), freePorts(t, 1)[0])
}

// startEtcdIn runs it in a directory that may have been used before, by a member with the peer address.
func startEtcdIn(t testing.TB, dir, peerAddress string) string {
	t.Helper()
	ports := freePorts(t, 1)
	client, peer := url.URL{Scheme: "http", Host: ports[0]}, url.URL{Scheme: "http", Host: peerAddress}
	config := embed.NewConfig()
	config.Dir = dir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	config.UnsafeNoFsync = true // nothing of it is kept
	config.BcryptCost = 4       // as little as there is
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("etcd did not start")
	}
	// An etcd that is ready still says 3.5 of its storage, until its own look at it, which may be seconds later.
	eventually(t, "etcd's storage version", func() error {
		if v := etcd.Server.StorageVersion(); v == nil || v.Minor < 7 {
			return fmt.Errorf("it is %v", v)
		}
		return nil
	})
	return ports[0]
}

// etcdMethods are the calls with one request and one answer.
var etcdMethods = map[string]struct {
	path           string
	request, reply proto.Message
}{
	"Range":                {pb.KV_Range_FullMethodName, &pb.RangeRequest{}, &pb.RangeResponse{}},
	"Put":                  {pb.KV_Put_FullMethodName, &pb.PutRequest{}, &pb.PutResponse{}},
	"DeleteRange":          {pb.KV_DeleteRange_FullMethodName, &pb.DeleteRangeRequest{}, &pb.DeleteRangeResponse{}},
	"Txn":                  {pb.KV_Txn_FullMethodName, &pb.TxnRequest{}, &pb.TxnResponse{}},
	"Compact":              {pb.KV_Compact_FullMethodName, &pb.CompactionRequest{}, &pb.CompactionResponse{}},
	"LeaseGrant":           {pb.Lease_LeaseGrant_FullMethodName, &pb.LeaseGrantRequest{}, &pb.LeaseGrantResponse{}},
	"LeaseRevoke":          {pb.Lease_LeaseRevoke_FullMethodName, &pb.LeaseRevokeRequest{}, &pb.LeaseRevokeResponse{}},
	"LeaseTimeToLive":      {pb.Lease_LeaseTimeToLive_FullMethodName, &pb.LeaseTimeToLiveRequest{}, &pb.LeaseTimeToLiveResponse{}},
	"LeaseLeases":          {pb.Lease_LeaseLeases_FullMethodName, &pb.LeaseLeasesRequest{}, &pb.LeaseLeasesResponse{}},
	"Status":               {pb.Maintenance_Status_FullMethodName, &pb.StatusRequest{}, &pb.StatusResponse{}},
	"Alarm":                {pb.Maintenance_Alarm_FullMethodName, &pb.AlarmRequest{}, &pb.AlarmResponse{}},
	"Defragment":           {pb.Maintenance_Defragment_FullMethodName, &pb.DefragmentRequest{}, &pb.DefragmentResponse{}},
	"Hash":                 {pb.Maintenance_Hash_FullMethodName, &pb.HashRequest{}, &pb.HashResponse{}},
	"HashKV":               {pb.Maintenance_HashKV_FullMethodName, &pb.HashKVRequest{}, &pb.HashKVResponse{}},
	"MoveLeader":           {pb.Maintenance_MoveLeader_FullMethodName, &pb.MoveLeaderRequest{}, &pb.MoveLeaderResponse{}},
	"MemberAdd":            {pb.Cluster_MemberAdd_FullMethodName, &pb.MemberAddRequest{}, &pb.MemberAddResponse{}},
	"MemberRemove":         {pb.Cluster_MemberRemove_FullMethodName, &pb.MemberRemoveRequest{}, &pb.MemberRemoveResponse{}},
	"MemberUpdate":         {pb.Cluster_MemberUpdate_FullMethodName, &pb.MemberUpdateRequest{}, &pb.MemberUpdateResponse{}},
	"MemberPromote":        {pb.Cluster_MemberPromote_FullMethodName, &pb.MemberPromoteRequest{}, &pb.MemberPromoteResponse{}},
	"MemberList":           {pb.Cluster_MemberList_FullMethodName, &pb.MemberListRequest{}, &pb.MemberListResponse{}},
	"AuthEnable":           {pb.Auth_AuthEnable_FullMethodName, &pb.AuthEnableRequest{}, &pb.AuthEnableResponse{}},
	"AuthDisable":          {pb.Auth_AuthDisable_FullMethodName, &pb.AuthDisableRequest{}, &pb.AuthDisableResponse{}},
	"AuthStatus":           {pb.Auth_AuthStatus_FullMethodName, &pb.AuthStatusRequest{}, &pb.AuthStatusResponse{}},
	"Authenticate":         {pb.Auth_Authenticate_FullMethodName, &pb.AuthenticateRequest{}, &pb.AuthenticateResponse{}},
	"UserAdd":              {pb.Auth_UserAdd_FullMethodName, &pb.AuthUserAddRequest{}, &pb.AuthUserAddResponse{}},
	"UserGet":              {pb.Auth_UserGet_FullMethodName, &pb.AuthUserGetRequest{}, &pb.AuthUserGetResponse{}},
	"UserList":             {pb.Auth_UserList_FullMethodName, &pb.AuthUserListRequest{}, &pb.AuthUserListResponse{}},
	"UserDelete":           {pb.Auth_UserDelete_FullMethodName, &pb.AuthUserDeleteRequest{}, &pb.AuthUserDeleteResponse{}},
	"UserChangePassword":   {pb.Auth_UserChangePassword_FullMethodName, &pb.AuthUserChangePasswordRequest{}, &pb.AuthUserChangePasswordResponse{}},
	"UserGrantRole":        {pb.Auth_UserGrantRole_FullMethodName, &pb.AuthUserGrantRoleRequest{}, &pb.AuthUserGrantRoleResponse{}},
	"UserRevokeRole":       {pb.Auth_UserRevokeRole_FullMethodName, &pb.AuthUserRevokeRoleRequest{}, &pb.AuthUserRevokeRoleResponse{}},
	"RoleAdd":              {pb.Auth_RoleAdd_FullMethodName, &pb.AuthRoleAddRequest{}, &pb.AuthRoleAddResponse{}},
	"RoleGet":              {pb.Auth_RoleGet_FullMethodName, &pb.AuthRoleGetRequest{}, &pb.AuthRoleGetResponse{}},
	"RoleList":             {pb.Auth_RoleList_FullMethodName, &pb.AuthRoleListRequest{}, &pb.AuthRoleListResponse{}},
	"RoleDelete":           {pb.Auth_RoleDelete_FullMethodName, &pb.AuthRoleDeleteRequest{}, &pb.AuthRoleDeleteResponse{}},
	"RoleGrantPermission":  {pb.Auth_RoleGrantPermission_FullMethodName, &pb.AuthRoleGrantPermissionRequest{}, &pb.AuthRoleGrantPermissionResponse{}},
	"Lock":                 {lockpb.Lock_Lock_FullMethodName, &lockpb.LockRequest{}, &lockpb.LockResponse{}},
	"Unlock":               {lockpb.Lock_Unlock_FullMethodName, &lockpb.UnlockRequest{}, &lockpb.UnlockResponse{}},
	"Campaign":             {electionpb.Election_Campaign_FullMethodName, &electionpb.CampaignRequest{}, &electionpb.CampaignResponse{}},
	"Proclaim":             {electionpb.Election_Proclaim_FullMethodName, &electionpb.ProclaimRequest{}, &electionpb.ProclaimResponse{}},
	"Leader":               {electionpb.Election_Leader_FullMethodName, &electionpb.LeaderRequest{}, &electionpb.LeaderResponse{}},
	"Resign":               {electionpb.Election_Resign_FullMethodName, &electionpb.ResignRequest{}, &electionpb.ResignResponse{}},
	"RoleRevokePermission": {pb.Auth_RoleRevokePermission_FullMethodName, &pb.AuthRoleRevokePermissionRequest{}, &pb.AuthRoleRevokePermissionResponse{}},
}

// etcdPair is this server and a real etcd that have seen the same requests.
type etcdPair struct {
	t        testing.TB
	ctx      context.Context
	hosts    [2]string           // ours, theirs
	conns    [2]*grpc.ClientConn // ours, theirs
	tokens   [2]string           // that requests carry; empty = none
	revision int64               // that of the last answer
	base     int64               // what @0 stands for
}

func startEtcdPair(t testing.TB) *etcdPair {
	return pairOf(t, startServer(t).etcd, startEtcd(t))
}

func pairOf(t testing.TB, ours, theirs string) *etcdPair {
	p := &etcdPair{t: t, ctx: testContext(t), hosts: [2]string{ours, theirs}}
	for i, address := range p.hosts {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		p.conns[i] = conn
	}
	p.compare("Range", `key:"a"`) // both are there, and at the same revision
	return p
}

// relative is a revision counted from the beginning of a case.
var relative = regexp.MustCompile(`@(-?\d+)`)

// parse reads a request in the text form of protobuf.
func (p *etcdPair) parse(text string, into proto.Message) {
	p.t.Helper()
	text = relative.ReplaceAllStringFunc(text, func(s string) string {
		var n int64
		fmt.Sscanf(s, "@%d", &n)
		return fmt.Sprint(p.base + n)
	})
	if err := prototext.Unmarshal([]byte(text), into); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

// invoke carries out a call on one server.
func (p *etcdPair) invoke(server int, method string, request proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(p.ctx, replyPatience)
	defer cancel()
	if token := p.tokens[server]; token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
	}
	conn := p.conns[server]
	switch method {
	case "WatchCreate": // the first answer to it
		stream, err := pb.NewWatchClient(conn).Watch(ctx)
		if err != nil {
			return nil, err
		}
		create := &pb.WatchRequest_CreateRequest{CreateRequest: request.(*pb.WatchCreateRequest)}
		if err := stream.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
			return nil, err
		}
		return stream.Recv()
	case "Snapshot": // whether there is any
		stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, request.(*pb.SnapshotRequest))
		if err == nil {
			_, err = stream.Recv()
		}
		return &pb.SnapshotResponse{}, err
	case "RangeStream":
		stream, err := pb.NewKVClient(conn).RangeStream(ctx, request.(*pb.RangeRequest))
		if err != nil {
			return nil, err
		}
		whole := &pb.RangeStreamResponse{}
		for {
			part, err := stream.Recv()
			if err != nil {
				if errors.Is(err, io.EOF) {
					return whole, nil
				}
				return nil, err
			}
			proto.Merge(whole, part)
		}
	case "LeaseKeepAlive":
		stream, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
		if err != nil {
			return nil, err
		}
		if err := stream.Send(request.(*pb.LeaseKeepAliveRequest)); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	m := etcdMethods[method]
	reply := m.reply.ProtoReflect().New().Interface()
	return reply, conn.Invoke(ctx, m.path, request, reply)
}

func (p *etcdPair) newRequest(method string) proto.Message {
	switch method {
	case "RangeStream":
		return &pb.RangeRequest{}
	case "LeaseKeepAlive":
		return &pb.LeaseKeepAliveRequest{}
	case "WatchCreate":
		return &pb.WatchCreateRequest{}
	case "Snapshot":
		return &pb.SnapshotRequest{}
	}
	m, ok := etcdMethods[method]
	if !ok {
		p.t.Fatalf("no such method: %s", method)
	}
	return m.request.ProtoReflect().New().Interface()
}

// compare sends a request, given as text, to both servers.
func (p *etcdPair) compare(method, text string) bool {
	p.t.Helper()
	request := p.newRequest(method)
	p.parse(text, request)
	return p.compareMessage(method, request)
}

func (p *etcdPair) compareMessage(method string, request proto.Message) bool {
	p.t.Helper()
	_, _, same := p.ask(method, request)
	return same
}

// ask sends a request to both servers at the same time, compares what they answer, and gives it.
func (p *etcdPair) ask(method string, request proto.Message) (replies [2]proto.Message, errs [2]error, same bool) {
	p.t.Helper()
	theirs := make(chan struct{})
	go func() {
		replies[1], errs[1] = p.invoke(1, method, request)
		close(theirs)
	}()
	replies[0], errs[0] = p.invoke(0, method, request)
	<-theirs
	alignTTLs(replies)
	a, b := showAnswer(replies[0], errs[0]), showAnswer(replies[1], errs[1])
	if errs[1] == nil {
		if revision := headerRevision(replies[1]); revision != 0 {
			p.revision = revision
		}
	}
	if a != b {
		p.t.Errorf("%s %s\n    etcd: %s\n triglot: %s", method, showMessage(request), clip(b), clip(a))
	}
	return replies, errs, a == b
}

// alignTTLs makes equal what is left of a lease where two servers were asked, and granted it, a moment apart.
func alignTTLs(replies [2]proto.Message) {
	ours, isTTL := replies[0].(*pb.LeaseTimeToLiveResponse)
	theirs, isTheirs := replies[1].(*pb.LeaseTimeToLiveResponse)
	if isTTL && isTheirs && ours.GetTTL() > 0 && theirs.GetTTL() > 0 && max(ours.TTL-theirs.TTL, theirs.TTL-ours.TTL) <= 5 {
		ours.TTL = theirs.TTL
	}
}

func headerRevision(m proto.Message) int64 {
	if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return h.GetHeader().GetRevision()
	}
	if stream, ok := m.(*pb.RangeStreamResponse); ok {
		return stream.GetRangeResponse().GetHeader().GetRevision()
	}
	return 0
}

// showAnswer is what of an answer must be the same. What differs by design is made equal first.
func showAnswer(m proto.Message, err error) string {
	if err != nil {
		s := status.Convert(err)
		return fmt.Sprintf("%v: %s", s.Code(), s.Message())
	}
	m = proto.Clone(m)
	normalise(m.ProtoReflect())
	return showMessage(m)
}

// showMessage prints in a form that depends on the content alone, which prototext's own does not.
func showMessage(m proto.Message) string {
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

// normalise makes equal what is each server's own.
func normalise(m protoreflect.Message) {
	switch m := m.Interface().(type) {
	case *pb.ResponseHeader:
		// That they are there is compared, and where: the headers within a Txn have none.
		m.ClusterId, m.MemberId, m.RaftTerm = min(m.ClusterId, 1), min(m.MemberId, 1), min(m.RaftTerm, 1)
	case *pb.LeaseTimeToLiveResponse:
		slices.SortFunc(m.Keys, slices.Compare) // they have no order
	case *pb.LeaseLeasesResponse:
		// etcd has them in the order of their ends, which may be the same.
		slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	case *pb.StatusResponse:
		// Sizes and raft's numbers are each server's own.
		same := &pb.StatusResponse{Header: m.Header, Version: m.Version, StorageVersion: m.StorageVersion,
			IsLearner: m.IsLearner, Errors: m.Errors, DowngradeInfo: m.DowngradeInfo}
		proto.Reset(m)
		proto.Merge(m, same)
	case *pb.AuthenticateResponse:
		m.Token = m.Token[:min(len(m.Token), 0)]
	case *pb.HashKVResponse: // has tests of its own
		proto.Reset(m)
	case *pb.HashResponse:
		m.Hash = 0
	case *pb.Member:
		// Each server has addresses and a name of its own.
		m.ID, m.Name = min(m.ID, 1), "name"
		m.PeerURLs, m.ClientURLs = m.PeerURLs[:min(len(m.PeerURLs), 1)], m.ClientURLs[:min(len(m.ClientURLs), 1)]
		for i := range m.PeerURLs {
			m.PeerURLs[i] = "url"
		}
		for i := range m.ClientURLs {
			m.ClientURLs[i] = "url"
		}
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				normalise(value.List().Get(i).Message())
			}
		case !field.IsMap():
			normalise(value.Message())
		}
		return true
	})
}
