package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// `triglot status`: the whole cluster at one look. A member's Status tells of itself alone, so each is asked at the client
// addresses that the member list has for it.

// waitPause is the time between two looks of --wait: nothing tells an outsider when a cluster becomes well.
const waitPause = 200 * time.Millisecond

func newStatusCommand() *cobra.Command {
	var flags clientFlags
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: "operate",
		Short:   "Show how every member of the cluster is",
		Long: `Show how every member of the cluster is: its role, the raft term, the index of its latest committed and applied entry, the
size of its database on disk, the time of a request to it from here, its version and its alarms.

One member is asked who is in the cluster, and then each for itself. The exit code is 0 when every member answers and
all know the same leader; otherwise it is 1, and the last line says what is wrong.`,
		Example: `  triglot status
  triglot status --wait 1m                       wait until the cluster is whole: between the steps of a rolling restart
  triglot status --endpoints 10.0.0.1:2379,10.0.0.2:2379 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view, err := flags.look(cmd.Context())
			for end := time.Now().Add(wait); (err != nil || view.trouble() != nil) && time.Now().Before(end); {
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-time.After(waitPause):
				}
				view, err = flags.look(cmd.Context())
			}
			if err != nil {
				return err
			}
			if err := view.print(cmd.OutOrStdout(), flags.output); err != nil {
				return err
			}
			return view.trouble()
		},
	}
	flags.register(cmd, "table", "json")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long for every member to answer and for a leader")
	return cmd
}

// memberView is one line of the status.
type memberView struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Endpoint     string   `json:"endpoint"`
	Role         string   `json:"role"` // leader, follower, learner, unreachable, not started
	LeaderID     string   `json:"leader_id,omitempty"`
	Term         uint64   `json:"raft_term"`
	Index        uint64   `json:"raft_index"`
	Applied      uint64   `json:"raft_applied_index"`
	Revision     int64    `json:"revision"`
	DBSize       int64    `json:"db_size_bytes"`
	DBSizeInUse  int64    `json:"db_size_in_use_bytes"`
	RoundTrip    float64  `json:"round_trip_seconds"`
	Version      string   `json:"version"`
	Alarms       []string `json:"alarms"`
	Error        string   `json:"error,omitempty"`
	answers      bool
	knowsALeader bool
}

// clusterView is the whole of it.
type clusterView struct {
	ClusterID string       `json:"cluster_id"`
	Members   []memberView `json:"members"`
}

// look asks everyone, at the same time.
func (f *clientFlags) look(parent context.Context) (*clusterView, error) {
	ctx, cancel := context.WithTimeout(parent, f.timeout)
	defer cancel()
	first, err := f.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer first.close()
	members, err := first.members(ctx)
	if err != nil {
		return nil, err
	}
	view := &clusterView{ClusterID: idText(first.status.Header.ClusterId), Members: make([]memberView, len(members))}
	var asking sync.WaitGroup
	for i, m := range members {
		asking.Go(func() { view.Members[i] = lookAt(ctx, &f.dialer, m) })
	}
	alarms := first.alarms(ctx)
	asking.Wait()
	for i, m := range members {
		for _, alarm := range alarms {
			if alarm.MemberID == m.ID {
				view.Members[i].Alarms = append(view.Members[i].Alarms, alarm.Alarm.String())
			}
		}
	}
	return view, nil
}

// alarms are those that the member knows. An etcd without a quorum does not say.
func (m *member) alarms(ctx context.Context) []*pb.AlarmMember {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := m.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
	if err != nil {
		return nil
	}
	return answer.Alarms
}

// lookAt asks one member, at one of its addresses after the other.
func lookAt(ctx context.Context, d *dialer, m *pb.Member) memberView {
	v := memberView{ID: idText(m.ID), Name: m.Name, Alarms: []string{}}
	if startedText(m) != "started" {
		v.Role = startedText(m)
		return v
	}
	v.Role, v.Error = "unreachable", "it has no address for etcd clients"
	for _, url := range m.ClientURLs {
		_, v.Endpoint = cutScheme(url)
		asked, err := d.dial(ctx, url)
		if err == nil {
			defer asked.close()
			begun := time.Now()
			if err = asked.ask(ctx); err == nil { // on a connection that is there: what a request takes
				v.fill(m, asked, time.Since(begun))
				return v
			}
		}
		v.Error = err.Error()
	}
	return v
}

func (v *memberView) fill(m *pb.Member, asked *member, roundTrip time.Duration) {
	s := asked.status
	v.answers, v.knowsALeader, v.Error = true, s.Leader != 0, ""
	v.Role = role(m, s.Leader)
	if s.Leader != 0 {
		v.LeaderID = idText(s.Leader)
	}
	v.Term, v.Index, v.Applied, v.Revision = s.RaftTerm, s.RaftIndex, s.RaftAppliedIndex, s.Header.GetRevision()
	v.DBSize, v.DBSizeInUse, v.RoundTrip = s.DbSize, s.DbSizeInUse, roundTrip.Seconds()
	v.Version = asked.version
	if v.Version == "" {
		v.Version = "etcd " + s.Version
	}
	if s.Header.GetMemberId() != m.ID {
		v.Error = fmt.Sprintf("member %s answers there", idText(s.Header.GetMemberId()))
	}
}

// trouble says in one line what is wrong with the cluster, if anything is.
func (c *clusterView) trouble() error {
	var problems []string
	var leaders []string
	silent := 0
	for _, m := range c.Members {
		switch {
		case m.Role == "not started":
			problems = append(problems, fmt.Sprintf("%s was added and not started", firstOf(m.Name, m.ID)))
		case !m.answers:
			silent++
			problems = append(problems, fmt.Sprintf("%s does not answer at %s: %s", m.Name, dash(m.Endpoint), m.Error))
		case m.Error != "":
			problems = append(problems, fmt.Sprintf("%s: %s: %s", m.Name, m.Endpoint, m.Error))
		case !m.knowsALeader:
			problems = append(problems, m.Name+" knows no leader")
		default:
			leaders = append(leaders, m.LeaderID)
		}
		if len(m.Alarms) > 0 {
			problems = append(problems, fmt.Sprintf("%s has the alarm %s", m.Name, strings.Join(m.Alarms, ", ")))
		}
	}
	slices.Sort(leaders)
	if leaders = slices.Compact(leaders); len(leaders) > 1 {
		problems = append(problems, "members disagree about who leads, which an election under way can be the reason of")
	}
	if len(problems) == 0 {
		return nil
	}
	if len(leaders) == 0 && silent > 0 {
		problems = append(problems, fmt.Sprintf("there is no quorum while %d of %d members are away: start them again", silent, len(c.Members)))
	}
	return errors.New(strings.Join(problems, "; "))
}

func (c *clusterView) print(out io.Writer, form string) error {
	if form == "json" {
		return printJSON(out, c)
	}
	t := newTable(out, "NAME", "ID", "ENDPOINT", "ROLE", "TERM", "INDEX", "APPLIED", "DB SIZE", "ROUND TRIP", "VERSION", "ALARMS")
	for _, m := range c.Members {
		alarms := dash(strings.Join(m.Alarms, ","))
		if !m.answers {
			t.row(dash(m.Name), m.ID, dash(m.Endpoint), m.Role, "-", "-", "-", "-", "-", "-", alarms)
			continue
		}
		t.row(m.Name, m.ID, m.Endpoint, m.Role, fmt.Sprint(m.Term), fmt.Sprint(m.Index), fmt.Sprint(m.Applied),
			humanBytes(m.DBSize), humanSeconds(m.RoundTrip), m.Version, alarms)
	}
	return t.end()
}
