package storage

// Reader is what commands read from: a View, or a Batch with its own writes on top. The state machine is written
// against it, so that the same code answers reads and applies writes.
//
// Failures latch: the first one is kept for Err, and from then on everything reads as absent. Whoever acts on what was
// read checks Err once, at the end.
type Reader interface {
	// Get gives the value stored under a key. From a View it is the caller's own copy; from a Batch it must not be
	// modified and holds until the batch is committed or discarded.
	Get(key []byte) (value []byte, ok bool)
	// Head is Get for who needs no more of a record than its numbers: a large value is left where it is.
	Head(key []byte) (value []byte, ok bool)
	// Scan goes over [lower, upper), upwards unless Reverse is given. The bounds must not be modified before Close,
	// which must be called. Writing to a Batch makes its open iterators undefined: collect first, write after.
	Scan(lower, upper []byte, options ...ScanOption) *Iterator
	// RecordAt and ScanAt read the shared space as it was at a revision, which is at or above State.Compacted.
	RecordAt(key []byte, revision int64) (Record, bool)
	ScanAt(lower, upper []byte, revision int64) *HistoryIterator
	// State is the state that goes with what is read. Only a Batch's may be modified.
	State() *State
	Err() error
}

// ScanOption adjusts a Scan.
type ScanOption uint8

// Reverse makes a Scan go downwards.
const Reverse ScanOption = 1

func isReverse(options []ScanOption) bool {
	for _, o := range options {
		if o == Reverse {
			return true
		}
	}
	return false
}

// latch keeps the first failure of a reader.
type latch interface {
	fail(error)
	failed() bool
}

// Fail latches a failure that was found in what a reader gave, such as a record that does not decode.
func Fail(r Reader, err error) { r.(latch).fail(err) }

var (
	_ Reader = (*View)(nil)
	_ Reader = (*Batch)(nil)
)
