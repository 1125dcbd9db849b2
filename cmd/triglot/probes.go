package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Probes: three questions about a member, for orchestrators and load balancers.

// answersWithin is how long a read may take for the member to count as ready.
const answersWithin = time.Second

// alarmNames are etcd's names of alarms, as ?exclude= takes them.
var alarmNames = map[corepb.Alarm_Kind]string{corepb.Alarm_NO_SPACE: "NOSPACE", corepb.Alarm_CORRUPT: "CORRUPT"}

func (i *insight) probes(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { probe(w, i.alive()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		probe(w, i.healthy(r.Context(), false, []string{alarmNames[corepb.Alarm_NO_SPACE]}))
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		health(w, i.healthy(r.Context(), query.Get("serializable") == "true", query["exclude"]))
	})
}

func probe(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// health answers in etcd's own form, which existing checks parse.
func health(w http.ResponseWriter, err error) {
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{Health: "true"}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		answer.Health, answer.Reason = "false", err.Error()
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // to a client that may be gone
}

// alive fails when only a restart can help. Starting, waiting for a quorum and stopping are life.
func (i *insight) alive() error {
	if store := i.store.Load(); store != nil && !i.ended.Load() {
		select {
		case <-store.Done():
			return fmt.Errorf("the store stopped: %w", store.Err())
		default:
		}
	}
	return nil
}

// healthy fails when a client would not get an answer now. The reasons are etcd's where it has them. A serializable read
// is one of this member's own state, which needs no leader. Excluded alarms do not count.
func (i *insight) healthy(ctx context.Context, serializable bool, excluded []string) error {
	store := i.store.Load()
	switch {
	case i.ended.Load():
		return errors.New("the member is stopping")
	case store == nil:
		if reason := i.reason.Load(); reason != nil {
			return fmt.Errorf("the member is starting: %s", *reason)
		}
		return errors.New("the member is starting")
	}
	for _, alarm := range store.Alarms() {
		if name := alarmNames[alarm.Kind]; !slices.Contains(excluded, name) {
			return errors.New("ALARM " + name)
		}
	}
	level := core.Local
	if !serializable {
		if !store.HasLeader() {
			return errors.New("RAFT NO LEADER")
		}
		level = core.Linearizable
	}
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	view, err := store.View(ctx, level)
	if err != nil {
		return fmt.Errorf("RANGE ERROR:%w", err)
	}
	view.Close()
	return nil
}
