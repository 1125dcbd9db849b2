package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// `triglot member …`: who is in the cluster.

func newMemberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "member",
		GroupID: "operate",
		Short:   "Show and change who is in the cluster",
		Long: `Show and change who is in the cluster. A member is named by its name or by its ID.

To replace a machine: remove the old member, add the new one, and start the new one with the flags that add prints.
Remove first: a member that is dead and still counted makes the quorum harder to reach.`,
		Example: `  triglot member list
  triglot member remove c
  triglot member add d --peer-urls http://10.0.0.4:2380`,
		Args: noSuchCommand,
		Run:  func(cmd *cobra.Command, _ []string) { cmd.Help() },
	}
	cmd.AddCommand(newMemberListCommand(), newMemberAddCommand(false), newMemberAddCommand(true), newMemberPromoteCommand(),
		newMemberRemoveCommand(), newMemberUpdateCommand(), newMoveLeaderCommand())
	return cmd
}

func newMemberListCommand() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the members, and where they are found",
		Long: `Show the members, and where they are found. A member that was added and has not been started yet has no client address.
The answer comes from the member that is asked, also while there is no quorum.`,
		Example: `  triglot member list
  triglot member list --endpoints 10.0.0.1:2379,10.0.0.2:2379 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, m *member) error {
				members, err := m.members(ctx)
				if err != nil {
					return err
				}
				return printMembers(cmd.OutOrStdout(), flags.output, members, m.status.Leader)
			})
		},
	}
	flags.register(cmd, "table", "json")
	return cmd
}

func newMemberAddCommand(learner bool) *cobra.Command {
	var flags clientFlags
	var peerURLs []string
	cmd := &cobra.Command{
		Use:   "add NAME --peer-urls URL",
		Short: "Add a voting member, before it is started",
		Long: `Add a voting member, before it is started, and print what to start it with.

The new member counts for the quorum at once: start it soon. With add-learner it first catches up without a vote.`,
		Example: `  triglot member add d --peer-urls http://10.0.0.4:2380`,
		Args:    named("the new member's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPeerURLs(peerURLs); err != nil {
				return err
			}
			return flags.with(cmd, func(ctx context.Context, m *member) error {
				urls, err := m.completeURLs(ctx, peerURLs)
				if err != nil {
					return err
				}
				answer, err := m.cluster().MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
				if err != nil {
					return plain(err)
				}
				printAdded(cmd.OutOrStdout(), args[0], answer)
				return nil
			})
		},
	}
	if learner {
		cmd.Use = "add-learner NAME --peer-urls URL"
		cmd.Short = "Add a member that catches up before it has a vote"
		cmd.Long = `Add a member that receives everything and has no vote, and print what to start it with. When it has caught up,
'triglot member promote' makes it a voter; until then it cannot cost the cluster its quorum.`
		cmd.Example = `  triglot member add-learner d --peer-urls http://10.0.0.4:2380
  triglot serve --name d --initial-cluster-state existing …      (the line that add-learner prints)
  triglot member promote d`
	}
	flags.register(cmd)
	cmd.Flags().StringSliceVar(&peerURLs, "peer-urls", nil, "where the other members will reach it: its --listen-peer, as http://host:port")
	return cmd
}

func newMemberPromoteCommand() *cobra.Command {
	return memberCommand(&cobra.Command{
		Use:     "promote MEMBER",
		Short:   "Make a learner a voter, once it has caught up",
		Example: `  triglot member promote d`,
	}, "promoted to a voter", func(ctx context.Context, m *member, id uint64) error {
		_, err := m.cluster().MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	})
}

func newMemberRemoveCommand() *cobra.Command {
	return memberCommand(&cobra.Command{
		Use:   "remove MEMBER",
		Short: "Remove a member for good",
		Long: `Remove a member for good. It stops by itself when it hears of it, and its data directory is of no use any more: to bring the
machine back, add it as a new member and start it with an empty directory.`,
		Example: `  triglot member remove c
  triglot member remove 8211f1d0f64f3269`,
	}, "removed", func(ctx context.Context, m *member, id uint64) error {
		_, err := m.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	})
}

func newMemberUpdateCommand() *cobra.Command {
	var peerURLs []string
	cmd := memberCommand(&cobra.Command{
		Use:   "update MEMBER --peer-urls URL",
		Short: "Change where the other members find one",
		Long: `Change where the other members find one. Update first, then restart the member with the new --listen-peer and
--advertise-peer.`,
		Example: `  triglot member update c --peer-urls http://10.0.0.9:2380`,
	}, "updated", func(ctx context.Context, m *member, id uint64) error {
		if err := checkPeerURLs(peerURLs); err != nil {
			return err
		}
		urls, err := m.completeURLs(ctx, peerURLs)
		if err != nil {
			return err
		}
		_, err = m.cluster().MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
		return err
	})
	cmd.Flags().StringSliceVar(&peerURLs, "peer-urls", nil, "the new address, as http://host:port")
	return cmd
}

func newMoveLeaderCommand() *cobra.Command {
	return memberCommand(&cobra.Command{
		Use:   "move-leader MEMBER",
		Short: "Hand leadership over to another voter",
		Long: `Hand leadership over to another voter, which is much quicker than an election. A member that is stopped with SIGTERM does so
by itself.`,
		Example: `  triglot member move-leader b`,
	}, "leads now", func(ctx context.Context, m *member, id uint64) error {
		leader, err := m.leader(ctx)
		if err != nil {
			return err
		}
		if leader != m {
			defer leader.close()
		}
		_, err = leader.maintenance().MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: id})
		return err
	})
}

// memberCommand completes a command about one member.
func memberCommand(cmd *cobra.Command, done string, do func(ctx context.Context, m *member, id uint64) error) *cobra.Command {
	var flags clientFlags
	cmd.Args = named("a member's name or ID, which 'triglot member list' shows")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.with(cmd, func(ctx context.Context, m *member) error {
			members, err := m.members(ctx)
			if err != nil {
				return err
			}
			target, err := find(members, args[0])
			if err != nil {
				return err
			}
			if err := do(ctx, m, target.ID); err != nil {
				return plain(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "member %s %s\n", label(target), done)
			return nil
		})
	}
	flags.register(cmd)
	return cmd
}

// with runs something with a member that answers.
func (f *clientFlags) with(cmd *cobra.Command, do func(ctx context.Context, m *member) error) error {
	ctx, cancel := f.context(cmd)
	defer cancel()
	m, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	return do(ctx, m)
}

// members asks for the members as this one knows them, which needs no quorum.
func (m *member) members(ctx context.Context) ([]*pb.Member, error) {
	answer, err := m.cluster().MemberList(ctx, &pb.MemberListRequest{Linearizable: false})
	if err != nil {
		return nil, plain(err)
	}
	slices.SortFunc(answer.Members, func(a, b *pb.Member) int {
		return strings.Compare(a.Name+"\x00"+idText(a.ID), b.Name+"\x00"+idText(b.ID))
	})
	return answer.Members, nil
}

// leader gives the member that leads, which alone takes some requests: this one, or a connection to another.
func (m *member) leader(ctx context.Context) (*member, error) {
	if m.status.Leader == m.status.Header.GetMemberId() {
		return m, nil
	}
	members, err := m.members(ctx)
	if err != nil {
		return nil, err
	}
	err = errors.New("the cluster has no leader")
	for _, other := range members {
		if other.ID != m.status.Leader {
			continue
		}
		err = fmt.Errorf("the leader, %s, has no address for etcd clients", label(other))
		for _, url := range other.ClientURLs {
			var leader *member
			if leader, err = m.dialer.dial(ctx, url); err == nil {
				return leader, nil
			}
			err = fmt.Errorf("the leader, %s, does not answer at %s: %w", label(other), url, err)
		}
	}
	return nil, err
}

// find takes a name, or an ID as it is shown.
func find(members []*pb.Member, what string) (*pb.Member, error) {
	var found []*pb.Member
	for _, m := range members {
		if m.Name == what {
			found = append(found, m)
		}
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("%d members have the name %q: say which one by its ID", len(found), what)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if id, err := strconv.ParseUint(what, 16, 64); err == nil {
		for _, m := range members {
			if m.ID == id {
				return m, nil
			}
		}
	}
	var known []string
	for _, m := range members {
		known = append(known, label(m))
	}
	return nil, fmt.Errorf("there is no member %q; there are %s", what, strings.Join(known, ", "))
}

func idText(id uint64) string { return fmt.Sprintf("%016x", id) }

func label(m *pb.Member) string {
	if m.Name == "" {
		return idText(m.ID)
	}
	return m.Name + " (" + idText(m.ID) + ")"
}

// role is what a member is to the cluster, as far as the member list and a leader tell.
func role(m *pb.Member, leader uint64) string {
	switch {
	case m.IsLearner:
		return "learner"
	case m.ID == leader:
		return "leader"
	default:
		return "follower"
	}
}

func startedText(m *pb.Member) string {
	if m.Name == "" && len(m.ClientURLs) == 0 {
		return "not started"
	}
	return "started"
}

func printMembers(out io.Writer, form string, members []*pb.Member, leader uint64) error {
	if form == "json" {
		type row struct {
			ID         string   `json:"id"`
			Name       string   `json:"name"`
			Started    bool     `json:"started"`
			Role       string   `json:"role"`
			PeerURLs   []string `json:"peer_urls"`
			ClientURLs []string `json:"client_urls"`
		}
		rows := []row{}
		for _, m := range members {
			rows = append(rows, row{idText(m.ID), m.Name, startedText(m) == "started", role(m, leader), m.PeerURLs, m.ClientURLs})
		}
		return printJSON(out, rows)
	}
	table := newTable(out, "NAME", "ID", "STATE", "ROLE", "PEER", "CLIENTS")
	for _, m := range members {
		table.row(dash(m.Name), idText(m.ID), startedText(m), role(m, leader), dash(strings.Join(m.PeerURLs, ",")), dash(strings.Join(m.ClientURLs, ",")))
	}
	return table.end()
}

// printAdded says what etcdctl says too: what the new member has to be told.
func printAdded(out io.Writer, name string, answer *pb.MemberAddResponse) {
	what := "member"
	if answer.Member.IsLearner {
		what = "learner"
	}
	fmt.Fprintf(out, "%s %s (%s) added to cluster %s\n\n", what, name, idText(answer.Member.ID), idText(answer.Header.ClusterId))
	var all []string
	for _, m := range answer.Members {
		memberName := m.Name
		if m.ID == answer.Member.ID {
			memberName = name
		}
		if memberName == "" { // added, not started yet: any name does, its addresses count
			memberName = idText(m.ID)
		}
		for _, u := range m.PeerURLs {
			all = append(all, memberName+"="+u)
		}
	}
	slices.Sort(all)
	scheme, listen := cutScheme(answer.Member.PeerURLs[0])
	if isUnixScheme(scheme) {
		listen = "unix:" + listen
	}
	also := ""
	if isSecuredScheme(scheme) {
		also = ", and with its --peer-cert-file, --peer-key-file and --peer-trusted-ca-file"
	}
	fmt.Fprintf(out, "Start it with an empty data directory"+also+":\n\n  triglot serve --name %s --data-dir %s --listen-peer %s \\\n    --initial-cluster-state existing \\\n    --initial-cluster %s\n",
		name, name, listen, strings.Join(all, ","))
}

func checkPeerURLs(given []string) error {
	if len(given) == 0 {
		return errors.New("--peer-urls is missing: where the other members reach this one, like http://10.0.0.4:2380")
	}
	for _, u := range given {
		if err := checkPlace(u); err != nil {
			return fmt.Errorf("--peer-urls: %w", err)
		}
	}
	return nil
}

// completeURLs gives addresses that are host:port alone the scheme that the members have.
func (m *member) completeURLs(ctx context.Context, given []string) ([]string, error) {
	members, err := m.members(ctx)
	if err != nil {
		return nil, err
	}
	secured := false
	for _, other := range members {
		if len(other.PeerURLs) > 0 {
			scheme, _ := cutScheme(other.PeerURLs[0])
			secured = isSecuredScheme(scheme)
		}
	}
	var urls []string
	for _, u := range given {
		urls = append(urls, urlOf(u, secured))
	}
	return urls, nil
}

// named wants exactly one argument.
func named(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("'%s' takes one argument, %s; see '%s --help'", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// noSuchCommand refuses arguments of a command that only has others below it.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("there is no command %q; see '%s --help'", args[0], cmd.CommandPath())
	}
	return nil
}
