// Package storage keeps the state of one node: ordered records on Pebble, their history, and the leases in memory. It
// knows neither the log that replicates commands nor what a command means; it imports nothing of ours.
//
// One goroutine, the state machine's, writes: it takes a Batch, reads and writes through it, and commits. Any number of
// goroutines read: each takes a View, which is the state as the last commit left it.
//
// # No log of its own
//
// Pebble runs with its write-ahead log off, because the raft log already is one. Pebble's memtables are flushed whole and
// in order, and a commit is one Pebble batch, which lies in one memtable. So what a crash leaves is the state after some
// commit: never half of one, never a later one without an earlier. State lies in the same batch and says which, and the
// entries after State.AppliedIndex are applied again from the raft log. For that the raft log must still hold them: it
// may be truncated up to DB.DurableApplied, which reads State from flushed files only. README.md goes through the cases.
//
// # Generations
//
//	 here                                     there
//	Export ─► files, checksums ─► … ─► Receive, Write, Finish ─► Install: CURRENT names the next engine directory
//
// The state of a DB may be replaced by a later one as a whole. The Pebble database that holds a state is an engine, in a
// directory of its own; views and purges hold the engine that they began with, and one that was replaced goes when the last
// of them has ended. Install belongs to the goroutine that commits.
//
// # Failures
//
// Reads that fail latch on the reader they came from. Writes that fail, in the background or not, end the database for
// writing: Commit returns the error, DB.Failed is closed, nothing is called durable any more, and the owner ends the
// process.
//
// # Goroutines
//
//   - The flush watcher calls Options.OnFlush. Started by Open, stopped by Close.
//   - A guarded call of Pebble (commit, flush, checkpoint, purge step, open, metrics, install) runs on a goroutine that ends with
//     it. The caller waits for it, and so does Close, unless the database has failed.
//   - Close waits for views on a goroutine that ends when the last one is released.
//   - An engine that was replaced is closed and removed on a goroutine that starts when its last view is released. Close
//     waits for it.
//   - Pebble's own flushes and compactions. Started by Open, stopped by Close.
//
// Locks: committing, around a commit or an install until its state is visible; purging, around PurgeHistory; exports.mu, while
// an export is listed or removed; incoming.mu, around everything that touches the directories of snapshots on their way in.
// Views take none.
package storage
