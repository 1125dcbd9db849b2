package raftlog

import (
	"context"
	"io"
)

// SnapshotMeta says which state a snapshot is.
type SnapshotMeta struct {
	Index, Term uint64 // of the last entry that is in it
	// Conf is who replicates the log as of Index, in the encoding that Machine.ApplyChange was given.
	Conf []byte
}

// SnapshotFile is one of the files that a snapshot consists of.
type SnapshotFile struct {
	Name     string // without a directory
	Bytes    int64
	Checksum uint32 // CRC-32C of the content
}

// Snapshots makes and takes whole states of the Machine. Its methods are called on goroutines that may wait for a disk.
type Snapshots interface {
	// Create gives a snapshot of a recent state: one that holds at least everything that the Machine had been given up
	// to the entry atLeast. The log is kept from its Index on until it is released.
	Create(ctx context.Context, atLeast uint64) (Snapshot, error)
	// Receive opens the staging place of a snapshot. Only one is received at a time: another one's is discarded, and the
	// same one's, as told by its meta and files, is continued.
	Receive(meta SnapshotMeta, files []SnapshotFile) (Incoming, error)
}

// Snapshot is a state of the Machine as files, on disk, unchanging.
type Snapshot interface {
	Meta() SnapshotMeta
	Files() []SnapshotFile
	Open(name string) (SnapshotReader, error)
	// Release gives the files up. It is called once.
	Release()
}

// SnapshotReader reads a file of a snapshot from any place.
type SnapshotReader interface {
	io.ReaderAt
	io.Closer
}

// Incoming is a snapshot on its way in. It is used by one goroutine at a time.
type Incoming interface {
	// Have says how much of a file is there: its first bytes.
	Have(name string) int64
	// Write appends to a file, at the offset that Have gives.
	Write(name string, offset int64, data []byte) error
	// Finish checks that everything is there and right, and makes it durable. After an error what was wrong is gone, and
	// the rest can be continued with.
	Finish() error
	// Close lets go of open files. What was written stays for a later Receive.
	Close() error
}
