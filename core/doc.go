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
// acknowledged so far (Linearizable). View.Do answers read commands with the very code that answers them inside a Txn.
//
// # Goroutines
//
// All are started by Open and end with Close.
//
//   - lessor.run: ends leases whose time is over, by proposing it. Sleeps until the soonest.
//   - reaper.run: the same for keys with deadlines, containers and TTL nodes.
//   - historian.run: samples the revision, proposes compactions, removes what they made dead.
//   - a watch over the state engine, which ends the store when that can write no more.
//   - truncateLog: after each flush of the state engine, lets raftlog drop what is not needed for replay.
//
// The apply goroutine is raftlog's; whatever it calls must not wait for a client.
package core
