package grpcsvc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
)

// Probes: questions about a member over HTTP, for orchestrators and load balancers, with etcd's paths and words.

// answersWithin is how long a read may take for the member to count as healthy: a linearizable one once there is no leader, or
// another than when it began. With one leader all the while it takes what it takes, as in etcd: whoever probes has a time-out.
const answersWithin = time.Second

// prober answers them.
type prober struct {
	store  func() (*core.Store, error) // the error says why there is none: the member starts, or stops
	meters *Meters
}

// check is one thing that a probe looks at.
type check struct {
	name string
	run  func(prober, context.Context) error
}

// checks are what each probe looks at, in the order they are told. A member that starts or stops is alive: there is
// nothing that a restart would better.
var (
	aliveChecks = []check{
		{"serializable_read", prober.alive},
	}
	readyChecks = []check{
		{"data_corruption", prober.notCorrupt},
		{"serializable_read", func(p prober, ctx context.Context) error { return p.read(ctx, core.Local) }},
		{"linearizable_read", func(p prober, ctx context.Context) error { return p.read(ctx, core.Linearizable) }},
		{"non_learner", prober.notLearner},
	}
)

// Probes makes a mux answer /health, /livez, /readyz and their parts. store gives the store of the member, or says why there
// is none; it is asked at each probe. What comes of them is counted in meters.
func Probes(mux *http.ServeMux, store func() (*core.Store, error), meters *Meters) {
	p := prober{store, meters}
	mux.HandleFunc("/health", onlyGet(p.health))
	for root, checks := range map[string][]check{"/livez": aliveChecks, "/readyz": readyChecks} {
		mux.HandleFunc(root, onlyGet(p.serve(root[1:], checks)))
		for i := range checks {
			mux.HandleFunc(root+"/"+checks[i].name, onlyGet(p.serve(root[1:], checks[i:i+1])))
		}
	}
}

// serve runs checks of a probe, but for those that ?exclude= names, and tells of each when one fails or ?verbose asks for it.
func (p prober) serve(probe string, checks []check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		failed := false
		var told strings.Builder
		for _, c := range checks {
			if len(checks) > 1 && slices.Contains(query["exclude"], c.name) {
				continue
			}
			err := c.run(p, r.Context())
			p.meters.checked(probe, c.name, err)
			if err != nil {
				failed = true
				fmt.Fprintf(&told, "[-]%s failed: %v\n", c.name, err)
			} else {
				fmt.Fprintf(&told, "[+]%s ok\n", c.name)
			}
		}
		if failed {
			http.Error(w, told.String(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !query.Has("verbose") {
			told.Reset()
		}
		_, _ = io.WriteString(w, told.String()+"ok\n") // to a client that may be gone
	}
}

// health is the older probe: alarms, a leader and a read. ?serializable=true asks for this member's own state, which needs
// no leader. Alarms that ?exclude= names do not count.
func (p prober) health(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{Health: "true"}
	query := r.URL.Query()
	if reason := p.unhealthy(r.Context(), query.Get("serializable") == "true", query["exclude"]); reason != "" {
		answer.Health, answer.Reason = "false", reason
	}
	p.meters.probed(answer.Reason == "")
	text, err := json.Marshal(answer)
	if err != nil || answer.Reason != "" {
		http.Error(w, string(text), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(text) // to a client that may be gone
}

// unhealthy says why a client would not get an answer now; "" when it would.
func (p prober) unhealthy(ctx context.Context, serializable bool, excluded []string) string {
	store, err := p.store()
	if err != nil {
		return err.Error()
	}
	for _, alarm := range store.Alarms() {
		if name := pb.AlarmType(alarm.Kind).String(); !slices.Contains(excluded, name) {
			return "ALARM " + name
		}
	}
	level := core.Local
	if !serializable {
		if !store.HasLeader() {
			return "RAFT NO LEADER"
		}
		level = core.Linearizable
	}
	if err := p.read(ctx, level); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// alive fails when only a restart can help.
func (p prober) alive(ctx context.Context) error {
	if _, err := p.store(); err != nil {
		return nil
	}
	return p.read(ctx, core.Local)
}

// read says why a read fails.
func (p prober) read(ctx context.Context, level core.ReadLevel) error {
	store, err := p.store()
	if err != nil {
		return err
	}
	if level == core.Linearizable {
		return readLatest(ctx, store)
	}
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	return tryView(ctx, store, level)
}

// readLatest is a linearizable read. When its leader goes meanwhile it is given up, in etcd's words for that, unless the next
// one answers soon.
func readLatest(ctx context.Context, store *core.Store) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leader, changed := store.LeaderWatch()
	givenUp := rpctypes.ErrLeaderChanged
	if leader == 0 {
		changed, givenUp = always, rpctypes.ErrNoLeader
	}
	go func() {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(answersWithin):
			cancel(givenUp)
		case <-ctx.Done():
		}
	}()
	err := tryView(ctx, store, core.Linearizable)
	if err != nil && context.Cause(ctx) == givenUp {
		return givenUp
	}
	return err
}

func tryView(ctx context.Context, store *core.Store, level core.ReadLevel) error {
	view, err := store.View(ctx, level)
	if err != nil {
		return fmt.Errorf("%s", status.Convert(statusOf(err)).Message())
	}
	view.Close()
	return nil
}

func (p prober) notCorrupt(context.Context) error {
	store, err := p.store()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(store.Alarms(), func(a core.Alarm) bool { return a.Kind == core.AlarmCorrupt }) {
		return fmt.Errorf("alarm activated: %v", pb.AlarmType(core.AlarmCorrupt))
	}
	return nil
}

func (p prober) notLearner(context.Context) error {
	store, err := p.store()
	if err != nil {
		return err
	}
	if store.Status().Role == core.RoleLearner {
		return fmt.Errorf("not supported for learner")
	}
	return nil
}
