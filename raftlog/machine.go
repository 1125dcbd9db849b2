package raftlog

// Machine is what committed entries are handed to. Its methods are called from one goroutine, in the order of the log:
// every index exactly once after a start, by one of the three.
type Machine interface {
	// Apply takes a run of entries, without gaps. entries and the Proposals in them are reused after it returns; payloads
	// may be kept. An error stops the node.
	Apply(entries []Entry) error
	// ApplyChange takes one entry that concerns the configuration. conf is the configuration that holds from it on if the
	// change stands, which the Machine decides; it is to be kept in one step with the entry's index, for Config.Conf.
	//
	// The entry's one proposal is what was given to Node.ProposeChange. There is none if raft itself leaves a joint
	// configuration: that always stands. The very first entry has Bootstrap.Payload, with Origin 0, and stands as well.
	// An error stops the node.
	ApplyChange(entry Entry, conf []byte) (stands bool, err error)
	// Install makes a received and finished snapshot the state, whatever that was before. On return it is durable, with
	// meta.Conf. The next entry is meta.Index+1; stamps may be less than that of the snapshot. An error stops the node.
	Install(meta SnapshotMeta) error
}
