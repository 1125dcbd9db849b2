// Package raftlog turns proposals into a replicated, durable, ordered log of opaque entries and hands the committed
// ones to a Machine. It knows nothing of what an entry means.
//
// # The way of a proposal
//
//	adapters' goroutines      raft goroutine            append goroutine       apply goroutine
//	Propose ─► queue ──wake──► pack one chunk
//	                           RawNode.Propose
//	                           Ready ────────writes────► Log.Append (fdatasync)
//	                           Step ◄────wake─ results ─┘
//	                           commit, Ready ──────────applies─────────────────► Machine.Apply
//	                           Step ◄───────────────wake─ results ──────────────┘
//
// There is no batching timer. While one entry is being written, proposals gather in the queue's open chunk; the chunk
// is the next entry. An idle node therefore adds no delay, and a busy one writes ever larger entries.
//
// # Goroutines
//
// All four are started by Start and owned by the Node; Done closes when all of them have returned.
//
//   - raft: the only one that touches the RawNode and its in-memory entries. Ends when the node is told to stop.
//   - append: the only writer of the Log. Ends when its mailbox is closed by the raft goroutine and empty, or at the
//     first write error.
//   - apply: the only caller of the Machine. Ends when its mailbox is closed and empty, or as soon as the node failed.
//   - lifetime: waits for the other three, closes the Log, closes Done and reports a failure to Config.OnFatal.
//
// Mailboxes between them have no capacity of their own: what raft lets be in flight bounds them (writesMax appends,
// applyBytesMax of entries being applied).
package raftlog
