package etcdfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

// A bbolt file is read here without bbolt, which maps the file into memory, and ends the process where the pages of a damaged
// one lead nowhere or in circles. The layout, numbers being in the machine's order of bytes:
//
//	page     id 8, kind 2, elements 2, overflow 4 (further pages that it takes), then its elements
//	branch   element: offset 4, key size 4, child page 8; the offset counts from the element
//	leaf     element: flags 4, offset 4, key size 4, value size 4; the value follows the key
//	meta     magic 4, version 4, page size 4, flags 4, root page 8, sequence 8, freelist 8, pages in all 8,
//	         transaction 8, checksum 8 (FNV-1a of what is before it)
//	bucket   value of a leaf element: root page 8, sequence 8; with root page 0 its only page follows
//
// Pages 0 and 1 are metas, of which the one counts that is whole and newer.
const (
	pageHeader    = 16
	elementHeader = 16
	bucketHeader  = 16
	metaBytes     = 64
	boltVersion   = 2

	kindBranch = 0x01
	kindLeaf   = 0x02
	kindMeta   = 0x04

	elementBucket = 0x01

	pageBytesMin = 512
	pageBytesMax = 1 << 20
	depthMax     = 64 // of a tree; one of 2^63 pages that are half full is no deeper
)

var order = binary.NativeEndian

// pages are a file's.
type pages struct {
	file     io.ReaderAt
	size     int64 // bytes of the file
	pageSize int64
	root     uint64 // of the bucket of buckets
}

// openPages finds the newest whole meta.
func openPages(file io.ReaderAt, size int64) (*pages, error) {
	p := &pages{file: file, size: size}
	newest := uint64(0)
	try := func(at int64) (pageSize int64) {
		b := make([]byte, pageHeader+metaBytes)
		if _, err := file.ReadAt(b, at); err != nil {
			return 0
		}
		meta := b[pageHeader:]
		sum := fnv.New64a()
		sum.Write(meta[:metaBytes-8])
		pageSize = int64(order.Uint32(meta[8:]))
		if order.Uint16(b[8:])&kindMeta == 0 || order.Uint32(meta) != boltMagic || order.Uint32(meta[4:]) != boltVersion ||
			order.Uint64(meta[metaBytes-8:]) != sum.Sum64() || pageSize < pageBytesMin || pageSize > pageBytesMax {
			return 0
		}
		if txn := order.Uint64(meta[48:]); p.pageSize == 0 || txn > newest {
			newest, p.pageSize, p.root = txn, pageSize, order.Uint64(meta[16:])
		}
		return pageSize
	}
	if pageSize := try(0); pageSize != 0 {
		try(pageSize)
	} else { // the second one is where the page size says that the first would have told
		for at := int64(pageBytesMin); at <= pageBytesMax && p.pageSize == 0; at *= 2 {
			try(at)
		}
	}
	if p.pageSize == 0 {
		return nil, errors.New("it has no whole meta page")
	}
	return p, nil
}

// page is one page, with those that it overflows to.
type page struct {
	kind  uint16
	count int
	bytes []byte // from its header on
}

// read reads a page into room.
func (p *pages) read(id uint64, room []byte) (page, []byte, error) {
	if id > uint64(p.size/p.pageSize) {
		return page{}, room, fmt.Errorf("page %d is behind the file's end", id)
	}
	at := int64(id) * p.pageSize
	head := make([]byte, pageHeader)
	if _, err := p.file.ReadAt(head, at); err != nil {
		return page{}, room, fmt.Errorf("page %d: %w", id, err)
	}
	whole := (int64(order.Uint32(head[12:])) + 1) * p.pageSize
	if order.Uint64(head) != id || whole > p.size-at {
		return page{}, room, fmt.Errorf("page %d says that it is page %d of %d bytes", id, order.Uint64(head), whole)
	}
	if int64(cap(room)) < whole {
		room = make([]byte, whole)
	}
	room = room[:whole]
	if _, err := p.file.ReadAt(room, at); err != nil {
		return page{}, room, fmt.Errorf("page %d: %w", id, err)
	}
	return asPage(room), room, nil
}

func asPage(b []byte) page {
	return page{kind: order.Uint16(b[8:]), count: int(order.Uint16(b[10:])), bytes: b}
}

// element gives the header of an element, and what it points at: so many bytes from where it says.
func (p *page) element(i int) (header []byte, err error) {
	at := pageHeader + i*elementHeader
	if i < 0 || i >= p.count || at+elementHeader > len(p.bytes) {
		return nil, fmt.Errorf("there is no element %d of %d", i, p.count)
	}
	return p.bytes[at : at+elementHeader], nil
}

func (p *page) slice(i int, offset, size uint32) ([]byte, error) {
	from := uint64(pageHeader+i*elementHeader) + uint64(offset)
	if from+uint64(size) > uint64(len(p.bytes)) {
		return nil, fmt.Errorf("element %d reaches over its page", i)
	}
	return p.bytes[from : from+uint64(size)], nil
}

// child is the page under a branch's element.
func (p *page) child(i int) (uint64, error) {
	header, err := p.element(i)
	if err != nil {
		return 0, err
	}
	return order.Uint64(header[8:]), nil
}

// pair is a leaf's element.
func (p *page) pair(i int) (key, value []byte, bucket bool, err error) {
	header, err := p.element(i)
	if err != nil {
		return nil, nil, false, err
	}
	keySize, valueSize := order.Uint32(header[8:]), order.Uint32(header[12:])
	if uint64(keySize)+uint64(valueSize) > math.MaxUint32 {
		return nil, nil, false, fmt.Errorf("element %d reaches over its page", i)
	}
	both, err := p.slice(i, order.Uint32(header[4:]), keySize+valueSize)
	if err != nil {
		return nil, nil, false, err
	}
	return both[:keySize], both[keySize:], order.Uint32(header)&elementBucket != 0, nil
}

// bucket is a table: a tree of pages, or one page.
type bucket struct {
	pages  *pages
	root   uint64
	inline []byte // its page, if root is 0
}

// bucket finds a table, nil when there is none.
func (p *pages) bucket(name []byte) (*bucket, error) {
	var found *bucket
	err := (&bucket{pages: p, root: p.root}).each(func(k, v []byte, isBucket bool) error {
		if !isBucket || !bytes.Equal(k, name) {
			return nil
		}
		if len(v) < bucketHeader {
			return fmt.Errorf("bucket %q has a header of %d bytes", k, len(v))
		}
		found = &bucket{pages: p, root: order.Uint64(v)}
		if found.root == 0 {
			found.inline = bytes.Clone(v[bucketHeader:])
			if len(found.inline) < pageHeader {
				return fmt.Errorf("bucket %q has a page of %d bytes", k, len(found.inline))
			}
		}
		return nil
	})
	return found, err
}

// each goes over the pairs, in their order. They hold until visit returns.
func (b *bucket) each(visit func(key, value []byte, bucket bool) error) error {
	if b.inline != nil {
		at := asPage(b.inline)
		return at.eachPair(visit)
	}
	w := &walk{pages: b.pages, visit: visit, seen: map[uint64]struct{}{}}
	return w.tree(b.root, 0)
}

func (p *page) eachPair(visit func(key, value []byte, bucket bool) error) error {
	if p.kind&kindLeaf == 0 {
		return fmt.Errorf("a page of kind %#x is where a leaf should be", p.kind)
	}
	for i := range p.count {
		key, value, bucket, err := p.pair(i)
		if err == nil {
			err = visit(key, value, bucket)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk goes over a tree, each page of which it comes to once.
type walk struct {
	pages *pages
	visit func(key, value []byte, bucket bool) error
	seen  map[uint64]struct{}
	rooms [depthMax][]byte // a page of each level
}

func (w *walk) tree(id uint64, depth int) error {
	if _, again := w.seen[id]; again || depth == depthMax {
		return fmt.Errorf("page %d is in its tree twice, or %d levels below the root", id, depth)
	}
	w.seen[id] = struct{}{}
	at, room, err := w.pages.read(id, w.rooms[depth])
	w.rooms[depth] = room
	if err != nil {
		return err
	}
	if at.kind&kindBranch == 0 {
		return at.eachPair(w.visit)
	}
	for i := range at.count {
		child, err := at.child(i)
		if err == nil {
			err = w.tree(child, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// last gives the last key, nil when there is none.
func (b *bucket) last() ([]byte, error) {
	at, id := page{}, b.root
	var err error
	if b.inline != nil {
		at = asPage(b.inline)
	} else if at, _, err = b.pages.read(id, nil); err != nil {
		return nil, err
	}
	for depth := 0; at.kind&kindBranch != 0; depth++ {
		if id, err = at.child(at.count - 1); err == nil && depth == depthMax {
			err = fmt.Errorf("page %d is %d levels below the root", id, depth)
		}
		if err == nil {
			at, _, err = b.pages.read(id, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	if at.count == 0 {
		return nil, nil
	}
	key, _, _, err := at.pair(at.count - 1)
	return key, err
}
