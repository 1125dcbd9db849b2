// Package raftlog turns proposals into a replicated, durable, ordered log of opaque entries and hands the committed
// ones to a Machine. It knows nothing of what an entry means.
//
// # The way of a proposal
//
//	adapters' goroutines      raft goroutine            append goroutine       apply goroutine
//	Propose ─► queue ──wake──► pack one chunk
//	                           RawNode.Propose ─────────────► other members
//	                           Ready ────────writes────► Log.Append (fdatasync)
//	                           Step ◄────wake─ results ─┘
//	                           Step ◄─────────────── inbox ◄─ other members
//	                           commit, Ready ──────────applies─────────────────► Machine.Apply
//	                           Step ◄───────────────wake─ results ──────────────┘
//
// There is no batching timer. While one entry is being written, proposals gather in the queue's open chunk; the chunk
// is the next entry. An idle node therefore adds no delay, and a busy one writes ever larger entries.
//
// A member that does not lead sends its chunks to the leader, which makes entries of them: forward.go says how each gets
// there once and in order, and how its member learns of it when it does not.
//
// # Goroutines
//
// The first four are started by Start and owned by the Node; Done closes when all of them have returned.
//
//   - raft: the only one that touches the RawNode and its in-memory entries. It never waits for a disk, for the Machine or
//     for another member. Ends when the node is told to stop.
//   - append: the only writer of the Log. Ends when its mailbox is closed by the raft goroutine and empty, or at the
//     first write error.
//   - apply: the only caller of the Machine. Ends when its mailbox is closed and empty, or as soon as the node failed.
//   - lifetime: waits for the others, stops the Transport, closes the Log, closes Done and reports a failure to
//     Config.OnFatal.
//   - one for each snapshot that is being made for another member: calls Snapshots.Create. Ends with it.
//
// Raft, append and apply are loops around step functions that never wait, so that a simulation can drive them one by one,
// with the raft goroutine's ticks as the only time.
//
// Mailboxes between them have no capacity of their own: what raft lets be in flight bounds them (writesMax appends,
// applyBytesMax of entries being applied, inflightBytesMax from the leader). What comes from other members waits in the
// inbox, up to inboxBytesMax; beyond that Handler.Receive waits, which holds back their streams.
//
// While a snapshot is installed, nothing is handed to the append goroutine until the apply goroutine is done with it:
// install.go draws that.
package raftlog
