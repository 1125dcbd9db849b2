package storage

import "encoding/binary"

// rowRing holds rows in a bounded piece of memory, the newest in place of the oldest. Rows lie one behind the other in plain
// bytes, and are found by a table of their hashes, so that the garbage collector sees two objects however many rows there are,
// and a look costs two cache lines: one of the table, one of the row.
//
//	bytes   [ rows of this lap │ free │ rows of the lap before │ unused ]
//	         0              next      oldest                    end    limit
//
// Room for a row is made at oldest: what lies there goes, unless it was asked for since it last stood in the way; then it
// moves down to next and has another lap. A row whose successor does not fit into its place stays behind as dead.
//
// Below the limit memory grows only while most of it is of use. If half of it says that rows are absent, or is dead, a lap is
// made in which all others move down.
type rowRing struct {
	limit    int // bytes of rows at most
	bytes    []byte
	next     int // where the next row is written
	oldest   int // the next row to go; end if there is none of the lap before
	end      int
	useless  int  // bytes of rows that are absent or dead
	gleaning bool // in this lap whatever is of use stays
	index    rowIndex
}

// row is one in place:
//
//	commit  8 bytes
//	hash    4 bytes
//	room    4 bytes, for key and value, a multiple of 8; the lowest bits are rowAsked and rowDead
//	key     4 bytes, its length
//	value   4 bytes, its length + 1, 0 for a row that is absent
//
// and then the bytes of key and value.
type row []byte

const (
	rowHeaderBytes = 8 + 4 + 4 + 4 + 4

	rowAsked = 1 // somebody has asked for it
	rowDead  = 2 // it is not in the index any more

	rowsMovedMax = 32 // for one new row, so that writing one takes no lap; what stays where it is while gleaning is not counted
)

func (r row) commit() uint64 { return binary.LittleEndian.Uint64(r) }
func (r row) hash() uint32   { return binary.LittleEndian.Uint32(r[8:]) }
func (r row) flags() byte    { return r[12] & 7 }
func (r row) room() int      { return int(binary.LittleEndian.Uint32(r[12:]) &^ 7) }
func (r row) size() int      { return rowHeaderBytes + r.room() }
func (r row) present() bool  { return binary.LittleEndian.Uint32(r[20:]) != 0 }
func (r row) useless() bool  { return r.flags()&rowDead != 0 || !r.present() }

func (r row) key() []byte {
	return r[rowHeaderBytes:][:binary.LittleEndian.Uint32(r[16:])]
}

func (r row) value() []byte {
	n := max(1, binary.LittleEndian.Uint32(r[20:])) - 1
	return r[rowHeaderBytes+binary.LittleEndian.Uint32(r[16:]):][:n]
}

// ask says that somebody has asked for the row.
func (r row) ask() {
	if r[12]&rowAsked == 0 {
		r[12] |= rowAsked
	}
}

// fill writes all but the room and its bits; the room must do.
func (r row) fill(hash uint32, commit uint64, key, value []byte, present bool) {
	length := uint32(0)
	if present {
		length = uint32(len(value)) + 1
	}
	binary.LittleEndian.PutUint64(r, commit)
	binary.LittleEndian.PutUint32(r[8:], hash)
	binary.LittleEndian.PutUint32(r[16:], uint32(len(key)))
	binary.LittleEndian.PutUint32(r[20:], length)
	n := copy(r[rowHeaderBytes:], key)
	copy(r[rowHeaderBytes+n:], value)
}

// find gives the row of a key, nil if it is not here. It holds until the next put.
func (g *rowRing) find(hash uint32, key []byte) row {
	if i, ok := g.slot(hash, key); ok {
		return g.bytes[g.index.slots[i].place-1:]
	}
	return nil
}

// slot finds the place of a key's row in the index.
func (g *rowRing) slot(hash uint32, key []byte) (i uint32, ok bool) {
	x := &g.index
	if len(x.slots) == 0 {
		return 0, false
	}
	for i = x.home(hash); x.slots[i].place != 0; i = x.after(i) {
		if x.slots[i].hash == hash && string(row(g.bytes[x.slots[i].place-1:]).key()) == string(key) {
			return i, true
		}
	}
	return 0, false
}

// put makes a row what it is as of a commit: in its place if it fits there, or else in a new one. One that is large for the
// ring is not kept, nor is what was known of it.
func (g *rowRing) put(hash uint32, commit uint64, key, value []byte, present bool) {
	if i, ok := g.slot(hash, key); ok {
		r := row(g.bytes[g.index.slots[i].place-1:])
		if r.useless() {
			g.useless -= r.size()
		}
		if len(key)+len(value) <= r.room() {
			r.fill(hash, commit, key, value, present)
			g.counted(r)
			return
		}
		r[12] |= rowDead
		g.useless += r.size()
		g.index.remove(i)
	}
	room := (len(key) + len(value) + 15) &^ 7 // numbers in a record grow
	size := rowHeaderBytes + room
	if size > g.limit/8 {
		return
	}
	g.makeRoom(size)
	r := row(g.bytes[g.next:])
	binary.LittleEndian.PutUint32(r[12:], uint32(room))
	r.fill(hash, commit, key, value, present)
	g.counted(r)
	g.index.add(hash, g.next)
	g.next += size
}

// counted takes note of a row that was filled. One that is absent now may have been asked for before, as what was to be deleted.
func (g *rowRing) counted(r row) {
	if !r.present() {
		r[12] &^= rowAsked
		g.useless += r.size()
	}
}

// makeRoom frees bytes at next.
func (g *rowRing) makeRoom(size int) {
	moved := 0
	for g.next+size > g.oldest {
		if g.oldest == g.end { // nothing is left of the lap before
			within := g.next+size <= g.limit
			if g.next+size <= len(g.bytes) || within && 2*g.useless <= g.next {
				g.grow(g.next + size)
				return
			}
			g.end, g.oldest, g.next, g.gleaning = g.next, 0, 0, within
			continue
		}
		r := row(g.bytes[g.oldest:])
		step := r.size()
		useless := 0
		if r.useless() {
			useless = step
		}
		g.useless -= useless
		switch flags := r.flags(); {
		case flags&rowDead != 0:
		case moved < rowsMovedMax && (flags&rowAsked != 0 || g.gleaning && r.present()):
			r[12] &^= rowAsked
			if g.next < g.oldest {
				g.index.move(r.hash(), g.oldest, g.next)
				copy(g.bytes[g.next:], r[:step])
				moved++
			} else if !g.gleaning {
				moved++
			}
			g.next += step
			g.useless += useless
		default:
			g.index.drop(r.hash(), g.oldest)
		}
		g.oldest += step
	}
}

// grow makes the memory long enough.
func (g *rowRing) grow(length int) {
	if length <= len(g.bytes) {
		return
	}
	bytes := make([]byte, min(max(len(g.bytes)+len(g.bytes)/4, length), g.limit))
	copy(bytes, g.bytes)
	g.bytes = bytes
}

// rowIndex finds rows by their hashes: a table with linear probing, at most three quarters full.
type rowIndex struct {
	slots []rowSlot // a power of two of them, or none
	used  int
}

type rowSlot struct {
	hash  uint32
	place uint32 // where the row begins + 1; 0 is an empty slot
}

const rowSlotsMin = 64

func (x *rowIndex) home(hash uint32) uint32 { return hash & uint32(len(x.slots)-1) }
func (x *rowIndex) after(i uint32) uint32   { return (i + 1) & uint32(len(x.slots)-1) }

// at finds the slot of a row that is there, by its place.
func (x *rowIndex) at(hash uint32, place int) uint32 {
	i := x.home(hash)
	for x.slots[i].place != uint32(place)+1 {
		i = x.after(i)
	}
	return i
}

func (x *rowIndex) move(hash uint32, from, to int) { x.slots[x.at(hash, from)].place = uint32(to) + 1 }
func (x *rowIndex) drop(hash uint32, place int)    { x.remove(x.at(hash, place)) }

func (x *rowIndex) add(hash uint32, place int) {
	if 4*(x.used+1) > 3*len(x.slots) {
		before := x.slots
		*x = rowIndex{slots: make([]rowSlot, max(rowSlotsMin, 2*len(before)))}
		for _, s := range before {
			if s.place != 0 {
				x.insert(s)
			}
		}
	}
	x.insert(rowSlot{hash, uint32(place) + 1})
}

func (x *rowIndex) insert(s rowSlot) {
	i := x.home(s.hash)
	for x.slots[i].place != 0 {
		i = x.after(i)
	}
	x.slots[i] = s
	x.used++
}

// remove empties a slot. What comes behind it moves up, so that whoever looks for it does not stop at the gap.
func (x *rowIndex) remove(gap uint32) {
	for i := x.after(gap); x.slots[i].place != 0; i = x.after(i) {
		// A row may fill the gap if that is no further from its home, counted in steps.
		mask := uint32(len(x.slots) - 1)
		if home := x.home(x.slots[i].hash); (i-home)&mask >= (i-gap)&mask {
			x.slots[gap], gap = x.slots[i], i
		}
	}
	x.slots[gap] = rowSlot{}
	x.used--
}
