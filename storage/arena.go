package storage

// arena gives out pieces of memory that all end together. What it gave holds until reset.
type arena struct {
	chunk []byte // its length is what has been given out
}

const (
	arenaChunkBytes     = 64 << 10
	arenaKeptBytesMax   = 1 << 20 // a chunk is used again unless it is larger
	arenaChunkGrowthMax = 1 << 20
)

// take gives an empty slice with room for n bytes.
func (a *arena) take(n int) []byte {
	from := len(a.chunk)
	if cap(a.chunk)-from < n {
		size := min(max(arenaChunkBytes, 2*cap(a.chunk)), arenaChunkGrowthMax)
		a.chunk, from = make([]byte, 0, max(size, n)), 0
	}
	a.chunk = a.chunk[:from+n]
	return a.chunk[from : from : from+n]
}

// keep gives back what is left of the last piece taken, of which used is what was needed.
func (a *arena) keep(used []byte) []byte {
	a.chunk = a.chunk[:len(a.chunk)-(cap(used)-len(used))]
	return used[:len(used):len(used)]
}

// copy gives a copy of b.
func (a *arena) copy(b []byte) []byte { return append(a.take(len(b)), b...) }

// reset takes everything back.
func (a *arena) reset() {
	if cap(a.chunk) > arenaKeptBytesMax {
		a.chunk = nil
	}
	a.chunk = a.chunk[:0]
}
