// Package storage keeps the state of one node: ordered records on Pebble, their history, and the leases in memory. It
// knows neither the log that replicates commands nor what a command means; it imports nothing of ours.
//
// One goroutine, the state machine's, writes: it takes a Batch, reads and writes through it, and commits. Any number of
// goroutines read: each takes a View, which is the state as the last commit left it.
//
// # What a commit costs
//
//	Batch ─► layer in memory ─► tables ─► Pebble
//	  └────► cache of rows
//
// A commit writes to a layer, which lies over Pebble; a full one is frozen and drained, as finished tables. Reads go through
// the cache of rows, then the layers, then Pebble. Rows that are written over and over, or gone again soon, so never get
// to Pebble. See layer.go, drain.go, cache.go and lookup.go.
//
// # No log of its own
//
// Pebble runs with its write-ahead log off, because the raft log already is one. Layers are drained in order, each with its
// State as one step: as tables that Pebble takes in together, or as a batch, which lies in one memtable. So what a crash
// leaves is the state after some commit: never half of one, never a later one without an earlier. State says which, and the
// entries after State.AppliedIndex are applied again from the raft log. For that the raft log must still hold them: it
// may be truncated up to DB.DurableApplied, which reads State from files only. README.md goes through the cases.
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
//   - A guarded call of Pebble (flush, checkpoint, purge step, open, metrics, install, a commit that waits for a drain or deletes
//     a range) runs on a goroutine that ends with it. The caller waits for it, and so does Close, unless the database has failed.
//   - A layer is drained on a goroutine that ends with it. Commits wait for it when the next layer is full. Close waits for it.
//   - History rows that were gathered are filed on a goroutine that ends with it. Flushes and purges wait for it, and so does Close.
//   - A snapshot of Pebble is closed on a goroutine that starts when nobody looks at it any more, and the iterators that stand ready
//     for lookups and scans in it on one that starts when another takes its place. Close waits for both.
//   - Close waits for views on a goroutine that ends when the last one is released.
//   - An engine that was replaced is closed and removed on a goroutine that starts when its last view is released. Close
//     waits for it.
//   - Pebble's own flushes and compactions. Started by Open, stopped by Close.
//
// Locks: committing, around a commit or an install until its state is visible, and around a change of layers; within it a
// layer's mu and the mutex of a shard of the cache, each for moments, and by readers alone; lookups.mu, for moments; purging, around PurgeHistory; exports.mu, while
// an export is listed or removed; incoming.mu, around everything that touches the directories of snapshots on their way in.
// Views take none.
package storage
