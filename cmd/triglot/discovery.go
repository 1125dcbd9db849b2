package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/triglot/triglot/core"
)

// How the first members of a cluster find each other in another one, by etcd's v3 protocol: --discovery-endpoints and
// --discovery-token. Whoever sets up the cluster has put its size there; each member puts itself there, and waits for the
// others. Those that were first make the cluster.
//
//	/_etcd/registry/<token>/_config/size     how many members, as a decimal number
//	/_etcd/registry/<token>/members/<id>     a member, as --initial-cluster has it; its id in hex is made of addresses and token
const registry = "/_etcd/registry"

// Why there is no cluster to be found, in etcd's words.
var (
	errNoSize        = errors.New("discovery: size key not found")
	errBadSize       = errors.New("discovery: size key is bad")
	errFull          = errors.New("discovery: cluster is full")
	errNotAPeer      = errors.New("discovery: invalid peer URL")
	errBothDiscovery = errors.New("both --discovery-token and --discovery-endpoints must be set")
)

// What does not answer is asked again after a while, twice as long each time.
const (
	discoveryRetryFirst = time.Second
	discoveryRetryMax   = 30 * time.Second
)

// discovery is what the flags say of it.
type discovery struct {
	token     string
	endpoints []string
	dialer    dialer
	within    time.Duration // for one request, connecting included
	srv       *srvDiscovery // in the place of all that
}

// discoveryOf reads the flags; nil when they ask for none.
func discoveryOf(given map[string]string) (*discovery, error) {
	if domain := given["discovery-srv"]; domain != "" {
		return &discovery{srv: &srvDiscovery{domain, given["discovery-srv-name"]}}, nil
	}
	d := &discovery{token: given["discovery-token"], endpoints: splitList(given["discovery-endpoints"])}
	switch {
	case d.token == "" && len(d.endpoints) == 0:
		return nil, nil
	case d.token == "" || len(d.endpoints) == 0:
		return nil, errBothDiscovery
	}
	durations := map[string]time.Duration{}
	for _, f := range []struct{ name, initial string }{
		{"discovery-dial-timeout", "2s"}, {"discovery-request-timeout", "5s"},
		{"discovery-keepalive-time", "2s"}, {"discovery-keepalive-timeout", "6s"},
	} {
		long, err := time.ParseDuration(givenOr(given, f.name, f.initial))
		if err != nil {
			return nil, fmt.Errorf("--%s: it is a duration, like 5s", f.name)
		}
		durations[f.name] = long
	}
	d.within = durations["discovery-dial-timeout"] + durations["discovery-request-timeout"]
	d.dialer = dialer{
		caFile: given["discovery-cacert"], certFile: given["discovery-cert"], keyFile: given["discovery-key"],
		skipVerify: given["discovery-insecure-skip-tls-verify"] == "true",
		user:       given["discovery-user"],
		options: []grpc.DialOption{grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: durations["discovery-keepalive-time"], Timeout: durations["discovery-keepalive-timeout"],
		})},
	}
	if password := given["discovery-password"]; password != "" {
		d.dialer.user += ":" + password
	}
	d.dialer.always = d.dialer.caFile+d.dialer.certFile+d.dialer.keyFile != "" || d.dialer.skipVerify || given["discovery-insecure-transport"] == "false"
	return d, nil
}

// discover fills in --initial-cluster and the token, unless the member has started before: then it knows its cluster.
func (c *config) discover(ctx context.Context, logger *slog.Logger) error {
	started, err := core.IsMember(c.DataDir)
	if err != nil || started {
		return err
	}
	urls := c.peerURLs(splitList(c.AdvertisePeer))
	var self []string
	for _, u := range slices.Sorted(slices.Values(urls)) {
		self = append(self, c.Name+"="+u)
	}
	switch d := c.Discovery; {
	case d.srv != nil:
		c.InitialCluster, err = d.srv.find(ctx, net.DefaultResolver, c.Name, urls)
	default:
		c.InitialCluster, err = d.join(ctx, strconv.FormatUint(core.FirstMemberID(urls, d.token), 16), strings.Join(self, ","), logger)
	}
	if err != nil {
		return err
	}
	logger.Info("the members of the cluster were discovered", "initial_cluster", c.InitialCluster)
	return c.checkCluster()
}

// join puts a member into the registry and waits until all are there.
func (d *discovery) join(ctx context.Context, id, self string, logger *slog.Logger) (cluster string, err error) {
	own := path.Join(registry, d.token, "members", id)
	wait := discoveryRetryFirst
	for i := 0; ; i++ {
		endpoint := d.endpoints[i%len(d.endpoints)]
		cluster, err = d.joinAt(ctx, endpoint, own, self, logger)
		switch {
		case err == nil:
			return cluster, nil
		case errors.Is(err, errNoSize), errors.Is(err, errBadSize), errors.Is(err, errFull), errors.Is(err, errNotAPeer), ctx.Err() != nil:
			return "", err
		}
		logger.Warn("the discovery service does not answer; trying again", "endpoint", endpoint, "err", err)
		if (i+1)%len(d.endpoints) != 0 {
			continue // another endpoint may know
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, discoveryRetryMax)
	}
}

// joinAt does it at one endpoint. What it did before it failed may be done again at another.
func (d *discovery) joinAt(ctx context.Context, endpoint, own, self string, logger *slog.Logger) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := d.dialer.connect(ctx, endpoint)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	at := registryAt{d: d, kv: pb.NewKVClient(conn), members: path.Join(registry, d.token, "members") + "/"}
	size, err := at.size(ctx)
	if err != nil {
		return "", err
	}
	first, _, err := at.first(ctx, size)
	if err != nil {
		return "", err
	}
	if isFull(first, own, size) {
		return "", errFull
	}
	within, done := context.WithTimeout(ctx, d.within)
	_, err = at.kv.Put(within, &pb.PutRequest{Key: []byte(own), Value: []byte(self)})
	done()
	if err != nil {
		return "", plain(err)
	}
	for {
		first, revision, err := at.first(ctx, size)
		switch {
		case err != nil:
			return "", err
		case isFull(first, own, size):
			return "", errFull // others were quicker
		case len(first) == size:
			return clusterFound(first)
		}
		logger.Info("waiting for the other members", "size", size, "found", len(first))
		if err := at.await(ctx, pb.NewWatchClient(conn), revision+1); err != nil {
			return "", err
		}
	}
}

// registryAt is a registry, as one endpoint shows it.
type registryAt struct {
	d       *discovery
	kv      pb.KVClient
	members string // the prefix of their keys
}

func (at *registryAt) size(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, at.d.within)
	defer cancel()
	answer, err := at.kv.Range(ctx, &pb.RangeRequest{Key: []byte(path.Join(registry, at.d.token, "_config/size"))})
	if err != nil {
		return 0, plain(err)
	}
	if len(answer.Kvs) == 0 {
		return 0, errNoSize
	}
	size, err := strconv.Atoi(string(answer.Kvs[0].Value))
	if err != nil || size <= 0 {
		return 0, errBadSize
	}
	return size, nil
}

// first lists the members that were first, as many as there may be, and the revision at which that was so.
func (at *registryAt) first(ctx context.Context, size int) ([]*mvccpb.KeyValue, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, at.d.within)
	defer cancel()
	answer, err := at.kv.Range(ctx, &pb.RangeRequest{Key: []byte(at.members), RangeEnd: at.end()})
	if err != nil {
		return nil, 0, plain(err)
	}
	list := slices.DeleteFunc(answer.Kvs, func(kv *mvccpb.KeyValue) bool { return !strings.Contains(string(kv.Value), "=") })
	slices.SortFunc(list, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	return list[:min(size, len(list))], answer.Header.Revision, nil
}

// end is where the keys of members end: after the slash there is nothing but the next byte.
func (at *registryAt) end() []byte { return []byte(strings.TrimSuffix(at.members, "/") + "0") }

// await returns when something happens among the members, at a revision or after it.
func (at *registryAt) await(ctx context.Context, watcher pb.WatchClient, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := watcher.Watch(ctx)
	if err != nil {
		return plain(err)
	}
	create := &pb.WatchCreateRequest{Key: []byte(at.members), RangeEnd: at.end(), StartRevision: from}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return plain(err)
	}
	for {
		answer, err := stream.Recv()
		switch {
		case err != nil:
			return plain(err)
		case len(answer.Events) > 0 || answer.CompactRevision > 0:
			return nil
		case answer.Canceled:
			return fmt.Errorf("the watch was refused: %s", answer.CancelReason)
		}
	}
}

// isFull says that there are enough members without this one.
func isFull(first []*mvccpb.KeyValue, own string, size int) bool {
	return len(first) == size && !slices.ContainsFunc(first, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == own })
}

// clusterFound is what the members say, as --initial-cluster.
func clusterFound(members []*mvccpb.KeyValue) (string, error) {
	var list []string
	for _, kv := range members {
		list = append(list, strings.TrimSpace(string(kv.Value)))
	}
	cluster := strings.Join(list, ",")
	if _, err := parseInitialCluster(cluster); err != nil {
		return "", fmt.Errorf("%w: %s: %w", errNotAPeer, cluster, err)
	}
	return cluster, nil
}
