package zkcompat

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/triglot/triglot/core"
)

func TestJuteIsWrittenAsTheProtocolSays(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(*encoder)
		want  string
	}{
		{"bool", func(e *encoder) { e.bool(true); e.bool(false) }, "\x01\x00"},
		{"int", func(e *encoder) { e.int32(-2) }, "\xff\xff\xff\xfe"},
		{"long", func(e *encoder) { e.int64(0x0102030405060708) }, "\x01\x02\x03\x04\x05\x06\x07\x08"},
		{"buffer", func(e *encoder) { e.bytes([]byte("ab")) }, "\x00\x00\x00\x02ab"},
		{"empty buffer", func(e *encoder) { e.bytes(nil) }, "\x00\x00\x00\x00"},
		{"string", func(e *encoder) { e.string("é") }, "\x00\x00\x00\x02\xc3\xa9"},
		{"vector", func(e *encoder) { e.strings([]string{"a", ""}) }, "\x00\x00\x00\x02\x00\x00\x00\x01a\x00\x00\x00\x00"},
		{"acl", func(e *encoder) { e.acl(31) }, "\x00\x00\x00\x01\x00\x00\x00\x1f\x00\x00\x00\x05world\x00\x00\x00\x06anyone"},
	} {
		var e encoder
		test.write(&e)
		if string(e.buf) != test.want {
			t.Errorf("%s: %q, want %q", test.name, e.buf, test.want)
		}
	}
}

func TestAStatTakes68BytesAndComesBack(t *testing.T) {
	stat := core.Stat{
		Czxid: 1, Mzxid: 2, Ctime: 3, Mtime: 4, Version: 5, Cversion: 6, Aversion: 7, EphemeralOwner: 8,
		DataLength: 9, NumChildren: 10, Pzxid: 11,
	}
	var e encoder
	e.stat(stat)
	if len(e.buf) != 68 {
		t.Errorf("%d bytes", len(e.buf))
	}
	if got := readStat(&decoder{rest: e.buf}); got != stat {
		t.Errorf("%+v", got)
	}
}

func TestJuteIsReadWithinItsBounds(t *testing.T) {
	for _, test := range []struct {
		name string
		in   string
		read func(*decoder) any
		want any // nil when the input is broken
	}{
		{"bool", "\x01", func(d *decoder) any { return d.bool() }, true},
		{"no bool", "", func(d *decoder) any { return d.bool() }, nil},
		{"short int", "\x00\x00\x00", func(d *decoder) any { return d.int32() }, nil},
		{"short long", "\x00\x00\x00\x00\x00\x00\x00", func(d *decoder) any { return d.int64() }, nil},
		{"buffer", "\x00\x00\x00\x01x", func(d *decoder) any { return d.bytes() }, []byte("x")},
		{"null buffer", "\xff\xff\xff\xff", func(d *decoder) any { return d.bytes() }, []byte(nil)},
		{"long buffer", "\x00\x00\x00\x02x", func(d *decoder) any { return d.bytes() }, nil},
		{"negative buffer", "\xff\xff\xff\xfe", func(d *decoder) any { return d.bytes() }, nil},
		{"string", "\x00\x00\x00\x01x", func(d *decoder) any { return d.string() }, "x"},
		{"null string", "\xff\xff\xff\xff", func(d *decoder) any { return d.string() }, nil},
		{"null string where it may be", "\xff\xff\xff\xff", func(d *decoder) any { return d.optionalString() }, ""},
		{"vector", "\x00\x00\x00\x01\x00\x00\x00\x01x", func(d *decoder) any { return d.strings() }, []string{"x"}},
		{"null vector", "\xff\xff\xff\xff", func(d *decoder) any { return d.strings() }, []string(nil)},
		{"forged vector", "\x7f\xff\xff\xff\x00\x00\x00\x01x", func(d *decoder) any { return d.strings() }, nil},
		{"negative vector", "\x80\x00\x00\x00", func(d *decoder) any { return d.strings() }, nil},
	} {
		d := decoder{rest: []byte(test.in)}
		got := test.read(&d)
		switch {
		case d.ok() != (test.want != nil):
			t.Errorf("%s: ok is %v", test.name, d.ok())
		case test.want != nil && !reflect.DeepEqual(got, test.want):
			t.Errorf("%s: %#v, want %#v", test.name, got, test.want)
		}
	}
}

// FuzzPacket holds that no packet makes the decoders panic or allocate more than a small multiple of its size, and that
// what is decoded stays within what the store may be asked.
func FuzzPacket(f *testing.F) {
	for i := range opcodeTable {
		for _, write := range []func(*encoder){
			createBody("/a", "x", 0), createBody("/a-", "x", 3), watchBody("/a", true), numberBody("/a", 1), setBody("/a", "x", 2),
		} {
			e := encoder{}
			e.int32(1)
			e.int32(opcodeTable[i].code)
			if opcodeTable[i].code == opMulti || opcodeTable[i].code == 22 {
				e.itemHeader(opGetData, 0)
				e.itemHeader(opCreate, 0)
			}
			write(&e)
			e.itemsEnd()
			f.Add(e.buf)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if r, ok := decodeConnect(packet); ok && !bytes.Contains(packet, r.password) {
			t.Error("a password from nowhere")
		}
		r, ok, broken := decodeRequest(packet)
		if !ok || broken {
			return
		}
		if len(r.items) > len(packet)/9 {
			t.Errorf("%d items in %d bytes", len(r.items), len(packet))
		}
		for _, item := range append(r.items, r) {
			if item.op.build != nil && item.op.code != opCloseSession && item.refused == codeOK {
				path := item.path
				if item.sequential() {
					path += "0000000000"
				}
				if !isNode(path) {
					t.Errorf("%s would reach the store with path %q", item.op.name, item.path)
				}
			}
		}
		if r.logged() {
			m := &command{}
			if (&conn{}).build(r, m); len(m.txn.Then) == 0 {
				t.Error("an empty command")
			}
		}
	})
}
