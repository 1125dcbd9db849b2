// Package core is the system itself: the one command set, the deterministic state machine that carries it out, and what
// follows every change: views for readers, watches, leases, deadlines, compaction. Protocol adapters translate into its
// commands and format its results; it knows nothing of wire formats, of how entries are replicated or of how bytes
// reach the disk.
//
// # A write, from top to bottom
//
//	Store.Submit   marshals a corepb.Txn and hands it to raftlog             any goroutine
//	machine.Apply  applies committed entries to one storage.Batch            raftlog's apply goroutine
//	  tx.run       one Txn: guards, ops, undo                                  "
//	  tx.change    one key: record, indexes, history, node tree, event         "
//	Store.applied  events to the Hub, then the new view to readers             "
//	Pending.Wait   the proposer has its result                               any goroutine
//
// # A read
//
// Store.View gives the state after some step: any that this node has applied (Local), or one that holds everything
// acknowledged so far (Linearizable). View.Do answers read commands with the very code that answers them inside a Txn. Whatever
// waits for a quorum does so for the request time-out at most.
//
// # A change of the members, and other things for the leader
//
//	Store.MemberAdd        asks the leader, by a call between members (peer.go)      any goroutine
//	changeMembersHere      the leader judges, and proposes the change to raftlog     the call's goroutine
//	machine.ApplyChange    the command decides whether the change stands             apply goroutine, of every member
//	Store.loadMembers      members to readers, addresses to the transport            "
//
// # A state from another member
//
//	stateSnapshots.Create   an export of storage, on the leader                      a goroutine of raftlog's
//	stateSnapshots.Receive  a staging place of storage, on the other side            the transport's
//	machine.Install         storage swaps the state                                  raftlog's apply goroutine
//	Store.installed         hub, leases, members, alarms, then the view to readers   "
//
// # Goroutines
//
// Started by Open; they end with Close.
//
//   - historian.run: samples the revision, removes what compactions made dead; on the leader it proposes them.
//   - announce: tells the cluster who this member is, whenever what is stored differs.
//   - a watch over the state engine, which ends the store when that can write no more.
//   - truncateLog: after each flush of the state engine, lets raftlog drop what is not needed for replay.
//   - hashChecks.run: hashes the state of a HashCheck's entry, slowly.
//
// Started when this node begins to lead (leadership.go), they end when it leads no more:
//
//   - lessor.run: ends leases whose time is over, by proposing it. Sleeps until the soonest.
//   - reaper.run: the same for keys with deadlines, containers and TTL nodes.
//   - checkHashes: has the replicas compared now and then; one goroutine for each member while it asks them.
//
// For as long as something waits:
//
//   - keeper.run: sends heartbeats that have gathered to the leader, until none are left.
//   - waiters.expire, on a timer: fails commands without an outcome.
//   - calls of other members, on goroutines of the transport; askUntil has one beside each call, to end it when the leader
//     is another.
//
// The apply goroutine and the raft goroutine (leadership.elected, waiters.settle) are raftlog's; what they call must not
// wait for a client or a disk, but for the state engine's on the former.
package core
