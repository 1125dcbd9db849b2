package main

import (
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestMistakesInTheSettingsOfAClusterSayWhatToDo(t *testing.T) {
	three := "a=10.0.0.1:2380,b=10.0.0.2:2380,c=10.0.0.3:2380"
	cases := []struct {
		name string
		args []string
		want []string
	}{
		{"a name that is not in the list", []string{"--name=d", "--initial-cluster=" + three}, []string{"--name d", "a, b, c"}},
		{"the default name", []string{"--initial-cluster=" + three}, []string{"--name default", "a, b, c"}},
		{"an entry without a name", []string{"--initial-cluster=10.0.0.1:2380"}, []string{"name=host:port"}},
		{"an entry without a port", []string{"--initial-cluster=a=10.0.0.1"}, []string{"member a", "host:port"}},
		{"an entry with port 0", []string{"--initial-cluster=a=10.0.0.1:0"}, []string{"member a", "host:port"}},
		{"an entry with another scheme", []string{"--initial-cluster=a=tcp://10.0.0.1:1"}, []string{"http://"}},
		{"an entry with a wildcard", []string{"--initial-cluster=a=0.0.0.0:2380"}, []string{"listen on"}},
		{"an address twice", []string{"--name=a", "--initial-cluster=a=h:1,b=h:1"}, []string{"a and b", "h:1"}},
		{"joining nobody", []string{"--initial-cluster-state=existing"}, []string{"--initial-cluster", "member add"}},
		{"no peer address", []string{"--name=a", "--initial-cluster=" + three, "--listen-peer="}, []string{"--listen-peer"}},
		{"two opinions of where it is", []string{"--name=a", "--initial-cluster=" + three, "--advertise-peer=10.0.0.9:2380"},
			[]string{"--advertise-peer", "10.0.0.9:2380", "10.0.0.1:2380"}},
		{"a certificate alone", []string{"--peer-cert-file=x"}, []string{"--peer-cert-file", "--peer-key-file and --peer-trusted-ca-file"}},
		{"no authority", []string{"--peer-cert-file=x", "--peer-key-file=x"}, []string{"--peer-trusted-ca-file", "mutual"}},
		{"https without files", []string{"--advertise-peer=https://h:1"}, []string{"https://h:1", "--peer-cert-file"}},
		{"http with files", []string{"--advertise-peer=http://h:1", "--peer-cert-file=x", "--peer-key-file=x", "--peer-trusted-ca-file=x"},
			[]string{"http://h:1", "https://"}},
		{"elections too soon", []string{"--election-timeout=400ms"}, []string{"--election-timeout (400ms)", "--heartbeat-interval (100ms)"}},
		{"a dev cluster with a list", []string{"--dev-cluster=3", "--name=a", "--initial-cluster=" + three}, []string{"--dev-cluster", "--initial-cluster"}},
		{"a dev cluster too large", []string{"--dev-cluster=10"}, []string{"--dev-cluster 10", "9"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, surroundings{args: c.args})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

func TestTheListOfMembersTakesAddressesAndURLs(t *testing.T) {
	founders, err := parseInitialCluster("a=10.0.0.1:2380, b=http://b.example:1,b=http://[::1]:2/,")
	if err != nil || len(founders) != 2 || !slices.Equal(founders[1].places, []string{"http://b.example:1", "http://[::1]:2/"}) {
		t.Fatalf("%+v, %v", founders, err)
	}
	plain, tls := config{}, config{PeerCertFile: "x"}
	for place, want := range map[string]string{"h:1": "http://h:1", "http://h:1/": "http://h:1", "https://h:1": "https://h:1"} {
		if got := plain.peerURL(place); got != want {
			t.Errorf("%s: %s, want %s", place, got, want)
		}
	}
	if got := tls.peerURL("h:1"); got != "https://h:1" {
		t.Error(got)
	}
	for place, want := range map[string]string{"unix:/run/a": "unix:///run/a", "unix:a:1": "unix://a:1", "unix://a:1": "unix://a:1"} {
		if got := plain.peerURL(place); got != want || checkPlace(place) != nil {
			t.Errorf("%s: %s, want %s; %v", place, got, want, checkPlace(place))
		}
	}
	if got := tls.peerURL("unix:/run/a"); got != "unixs:///run/a" {
		t.Error(got)
	}
	for _, place := range []string{"unix:", "unix://", "unixs://", "unix", "ftp://a:1"} {
		if checkPlace(place) == nil {
			t.Errorf("%s is taken", place)
		}
	}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestAWildcardIsNeverAdvertised(t *testing.T) {
	all := addresses{resp: "0.0.0.0:6379", etcd: "[::]:2379", zk: "127.0.0.1:2181", shared: ":7379", peer: "0.0.0.0:2380"}
	cases := []struct {
		name    string
		cfg     config
		peer    string // host; empty: this machine's, whatever it is
		client  string
		another string // of resp
	}{
		{"as the list says", config{Name: "a", InitialCluster: "a=10.1.2.3:2380,b=10.1.2.4:2380"}, "10.1.2.3", "10.1.2.3", "10.1.2.3"},
		{"as --advertise-peer says", config{AdvertisePeer: "a.example:1"}, "a.example", "a.example", "a.example"},
		{"as --advertise-etcd says", config{AdvertisePeer: "a.example:1", AdvertiseEtcd: "b.example:1"}, "a.example", "b.example", "a.example"},
		{"nothing is said", config{}, "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := c.cfg.advertise(all, quiet)
			for what, pair := range map[string][2]string{
				"peer": {a.peerURLs[0], c.peer}, "client": {a.clientURLs[0], c.client}, "resp": {a.listeners["resp"], c.another},
			} {
				host := hostOf(pair[0])
				if isWildcard(host) || pair[1] != "" && host != pair[1] {
					t.Errorf("%s is told as %s", what, pair[0])
				}
			}
			if a.listeners["zk"] != all.zk {
				t.Errorf("zk is told as %s", a.listeners["zk"])
			}
			if _, there := a.listeners["metrics"]; there {
				t.Error("a listener that is off is told of")
			}
		})
	}
}

func TestTheSharedListenerIsToldWhenTheOneOfEtcdIsOff(t *testing.T) {
	a := (&config{}).advertise(addresses{shared: "127.0.0.1:7379", peer: "127.0.0.1:2380"}, quiet)
	if !slices.Equal(a.clientURLs, []string{"http://127.0.0.1:7379"}) || !slices.Equal(a.peerURLs, []string{"http://127.0.0.1:2380"}) {
		t.Errorf("%+v", a)
	}
	if a := (&config{}).advertise(addresses{resp: "127.0.0.1:1"}, quiet); len(a.clientURLs) > 0 || len(a.peerURLs) > 0 {
		t.Errorf("%+v", a)
	}
}

func TestAUnixSocketIsToldToEtcdClientsAndMembersAlone(t *testing.T) {
	at := addresses{resp: "unix:/run/resp", etcd: "unix:/run/etcd", zk: "0.0.0.0:2181", peer: "unix:peer"}
	a := (&config{ListenEtcd: "tls:unix:/run/etcd"}).advertise(at, quiet)
	if !slices.Equal(a.clientURLs, []string{"unixs:///run/etcd"}) || !slices.Equal(a.peerURLs, []string{"unix://peer"}) {
		t.Errorf("%+v", a)
	}
	if _, there := a.listeners["resp"]; there || isWildcard(hostOf(a.listeners["zk"])) {
		t.Errorf("listeners %v", a.listeners)
	}
}

func TestALikelyMistakeIsWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  config
		peer string
		want string
	}{
		"listening on loopback":  {config{Name: "a", InitialCluster: "a=10.0.0.1:2380,b=10.0.0.2:2380"}, "127.0.0.1:2380", "set --listen-peer"},
		"telling of loopback":    {config{Name: "a", InitialCluster: "a=127.0.0.1:2380,b=10.0.0.2:2380"}, "127.0.0.1:2380", "set --advertise-peer"},
		"all on this machine":    {config{Name: "a", InitialCluster: "a=127.0.0.1:2380,b=127.0.0.1:2480"}, "127.0.0.1:2380", ""},
		"all on machines of own": {config{Name: "a", InitialCluster: "a=10.0.0.1:2380,b=10.0.0.2:2380"}, "0.0.0.0:2380", ""},
	} {
		var log strings.Builder
		c.cfg.advertise(addresses{peer: c.peer}, slog.New(slog.NewTextHandler(&log, nil)))
		if c.want == "" && log.Len() > 0 || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s: %q", name, log.String())
		}
	}
}

func TestThePortsOfADevClusterDoNotMeet(t *testing.T) {
	var cfg config
	cfg.settings()
	taken := map[string]bool{}
	for i := range devMembersMax {
		at, err := devAddresses(&cfg, i)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{at.resp, at.etcd, at.zk, at.shared, at.peer, at.metrics} {
			if taken[address] {
				t.Errorf("%s is taken twice", address)
			}
			taken[address] = true
		}
	}
	if at, err := steppedAddress("127.0.0.1:0", 2); err != nil || strings.HasSuffix(at, ":0") {
		t.Errorf("%s, %v", at, err)
	}
	if _, err := steppedAddress("127.0.0.1:65500", 2); err == nil {
		t.Error("a port that cannot be was accepted")
	}
	if _, _, err := net.SplitHostPort(cfg.ListenPeer); err != nil {
		t.Error(err)
	}
}

func TestAMemberIsFoundByNameOrID(t *testing.T) {
	members := []*pb.Member{{ID: 0xa, Name: "a"}, {ID: 0xb, Name: "b"}, {ID: 0xc}, {ID: 0xd, Name: "twin"}, {ID: 0xe, Name: "twin"}}
	for what, want := range map[string]uint64{"b": 0xb, "c": 0xc, "000000000000000c": 0xc, "a": 0xa} {
		if m, err := find(members, what); err != nil || m.ID != want {
			t.Errorf("%s: %v, %v", what, m, err)
		}
	}
	for what, want := range map[string]string{"z": "a (000000000000000a), b (000000000000000b), 000000000000000c", "twin": "by its ID"} {
		if _, err := find(members, what); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTheStatusSaysWhatIsWrong(t *testing.T) {
	well := func(name string) memberView {
		return memberView{Name: name, Endpoint: name + ":2379", Role: "follower", LeaderID: "0a", answers: true, knowsALeader: true}
	}
	if err := (&clusterView{Members: []memberView{well("a"), well("b")}}).trouble(); err != nil {
		t.Error(err)
	}
	dead := memberView{Name: "c", Endpoint: "c:2379", Role: "unreachable", Error: "connection refused"}
	lost, other, alarmed := well("b"), well("b"), well("b")
	lost.LeaderID, lost.knowsALeader = "", false
	other.LeaderID = "0b"
	alarmed.Alarms = []string{"CORRUPT"}
	for _, c := range []struct {
		members []memberView
		want    []string
	}{
		{[]memberView{well("a"), dead}, []string{"c does not answer at c:2379: connection refused"}},
		{[]memberView{lost, dead, dead}, []string{"b knows no leader", "no quorum while 2 of 3 members are away"}},
		{[]memberView{well("a"), other}, []string{"disagree"}},
		{[]memberView{well("a"), alarmed}, []string{"b has the alarm CORRUPT"}},
		{[]memberView{well("a"), {ID: "0c", Role: "not started"}}, []string{"0c was added and not started"}},
	} {
		err := (&clusterView{Members: c.members}).trouble()
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in: %v", want, err)
			}
		}
	}
}
