package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Hashes of the state, by which replicas find out whether they have come apart. A hash is over what the state machine
// wrote, row by row, and over nothing that depends on how far a replica has purged: of log and history, what no purge
// removes as long as State.Compacted stands where it is (see purge.go).

// Pace is told now and then how many bytes have been hashed since the last time. An error ends the hashing.
type Pace func(bytes int) error

// paceBytes is how often Pace is asked.
const paceBytes = 256 << 10

// rowHash hashes rows, each with its length, so that no two lists of rows give the same bytes.
type rowHash struct {
	digest *xxhash.Digest
	frame  []byte
	bytes  int // since pace was asked
	pace   Pace
}

func newRowHash(pace Pace) *rowHash { return &rowHash{digest: xxhash.New(), pace: pace} }

func (h *rowHash) row(key, value []byte) error {
	h.frame = binary.AppendUvarint(h.frame[:0], uint64(len(key)))
	h.frame = append(h.frame, key...)
	h.frame = binary.AppendUvarint(h.frame, uint64(len(value)))
	_, _ = h.digest.Write(h.frame) // a hash takes everything
	_, _ = h.digest.Write(value)
	return h.read(len(h.frame) + len(value))
}

// read counts bytes that were read, whether or not they count for the hash.
func (h *rowHash) read(bytes int) error {
	h.bytes += bytes
	if h.bytes < paceBytes {
		return nil
	}
	n := h.bytes
	h.bytes = 0
	return h.pace(n)
}

// rows hashes [lower, upper) as it is.
func (h *rowHash) rows(v *View, lower, upper []byte) error {
	it := v.Scan(lower, upper)
	defer it.Close()
	for it.Next() {
		if err := h.row(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return v.Err()
}

// Hash is over the whole state at the view: the state row, every table but log and history, and those as far as commands
// can read them. Replicas at one AppliedIndex have the same. It reads everything once.
func (v *View) Hash(pace Pace) (uint64, error) {
	h := newRowHash(pace)
	state := v.State()
	if err := h.row(stateKey, state.Append(nil)); err != nil {
		return 0, err
	}
	// A table that is added later is in it without further ado.
	for _, bounds := range [][2]byte{{tableMeta + 1, tableLog}, {tableHistory + 1, 0xff}} {
		if err := h.rows(v, []byte{bounds[0]}, []byte{bounds[1]}); err != nil {
			return 0, err
		}
	}
	if err := h.rows(v, appendInt64([]byte{tableLog}, state.Compacted), []byte{tableLog + 1}); err != nil {
		return 0, err
	}
	if err := h.versions(v); err != nil {
		return 0, err
	}
	return h.digest.Sum64(), nil
}

// HashAt is over the shared space as it can be read at a revision: the same on every replica, whatever was compacted or
// has happened since. The revision lies between State.Compacted and State.Revision.
func (v *View) HashAt(revision int64, pace Pace) (uint32, error) {
	h := newRowHash(pace)
	it := v.ScanAt(nil, nil, revision)
	defer it.Close()
	var value []byte
	for it.Next() {
		record, ok := it.Record()
		if !ok {
			break // which the view's error explains
		}
		value = record.Append(value[:0])
		if err := h.row(it.Key(), value); err != nil {
			return 0, err
		}
	}
	if err := v.Err(); err != nil {
		return 0, err
	}
	sum := h.digest.Sum64()
	return uint32(sum ^ sum>>32), nil
}

// versions goes through the history. It hashes the rows that stay, and of those below the compacted revision the version
// that each key is left with, with its content where that is not what the key holds now, which is hashed with the current
// table.
func (h *rowHash) versions(v *View) error {
	compacted := v.State().Compacted
	it := v.Scan([]byte{tableHistory}, []byte{tableHistory + 1})
	defer it.Close()
	var key, scratch []byte
	first := true
	settled, newer := false, false // the key's versions from here on are dead; there is a newer one than the row
	for it.Next() {
		row, err := decodeHistory(it.Key(), it.Value(), scratch)
		if err != nil {
			return err
		}
		scratch = row.key
		if first || !bytes.Equal(key, row.key) {
			key, first, settled, newer = append(key[:0], row.key...), false, false, false
		}
		switch {
		case row.revision >= compacted:
			// Its event is hashed with the log.
			newer, settled = true, row.revision == compacted
			err = h.row(it.Key(), it.Value())
		case settled:
			err = h.read(len(it.Key()))
		default:
			settled = true
			if !row.tombstone {
				err = h.left(v, it, &row, newer)
			}
		}
		if err != nil {
			return err
		}
	}
	return v.Err()
}

// left hashes a version below the compacted revision that its key is left with.
func (h *rowHash) left(v *View, it *Iterator, row *historyRow, content bool) error {
	if err := h.row(it.Key(), it.Value()); err != nil || !content {
		return err
	}
	value, ok := v.Get(LogKey(make([]byte, 0, 13), row.revision, row.sub))
	if !ok {
		if err := v.Err(); err != nil {
			return err
		}
		return fmt.Errorf("%w: history points to revision %d sub %d, which is not in the log", ErrCorrupt, row.revision, row.sub)
	}
	return h.row(nil, value)
}
