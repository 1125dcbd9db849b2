package core

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/triglot/triglot/core/corepb"
)

// filled sets every field of a message, to one of two values, and what is nested in it to a depth.
func filled(m protoreflect.Message, second bool, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.ContainingOneof() != nil && field.ContainingOneof().Fields().Get(0) != field {
			continue // one member of each is enough
		}
		switch {
		case field.IsMap():
		case field.IsList():
			list := m.Mutable(field).List()
			for range 2 {
				if field.Message() == nil {
					list.Append(someValue(field, second))
				} else if depth > 0 {
					filled(list.AppendMutable().Message(), second, depth-1)
				}
			}
		case field.Message() != nil:
			if depth > 0 {
				filled(m.Mutable(field).Message(), second, depth-1)
			}
		default:
			m.Set(field, someValue(field, second))
		}
	}
}

func someValue(field protoreflect.FieldDescriptor, second bool) protoreflect.Value {
	text, number := "first", 1
	if second {
		text, number = "the second", 300
	}
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(number))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(number))
	default:
		return protoreflect.ValueOfInt64(int64(number))
	}
}

// Whatever was decoded before, a command is what protobuf says that it is.
func TestCommandsAreDecodedAsIfNothingHadBeenBefore(t *testing.T) {
	var payloads [][]byte
	var names []string
	add := func(name string, txn *corepb.Txn) {
		payload, err := txn.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		payloads, names = append(payloads, payload), append(names, name)
	}
	ops := (&corepb.Op{}).ProtoReflect().Descriptor().Fields()
	for i := range ops.Len() {
		name := string(ops.Get(i).Name())
		full, empty, second := &corepb.Op{}, &corepb.Op{}, &corepb.Op{}
		filled(full.ProtoReflect().Mutable(ops.Get(i)).Message(), false, 2)
		empty.ProtoReflect().Mutable(ops.Get(i))
		filled(second.ProtoReflect().Mutable(ops.Get(i)).Message(), true, 2)
		add(name, &corepb.Txn{Then: []*corepb.Op{full}, AbortOnError: true, Session: 7, Owner: 8, Caller: &corepb.Caller{User: "who"}})
		add(name+", empty", &corepb.Txn{Then: []*corepb.Op{empty}})
		add(name+", otherwise", &corepb.Txn{Then: []*corepb.Op{second}, Otherwise: []*corepb.Op{full}})
		add(name+", guarded", &corepb.Txn{Guards: []*corepb.Guard{{Key: []byte("k")}}, Then: []*corepb.Op{second}})
		add(name+" again", &corepb.Txn{Then: []*corepb.Op{second}})
		add(name+", twice", &corepb.Txn{Then: []*corepb.Op{full, second}})
	}
	put, again := oneOp(&corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("k")}}}), &corepb.Txn{Owner: 1}
	text, _ := put.MarshalVT()
	rest, _ := again.MarshalVT()
	payloads, names = append(payloads, append(append(append([]byte{}, text...), rest...), text...)), append(names, "an op behind another field")
	payloads, names = append(payloads, nil), append(names, "nothing")

	d, reused := &decoder{}, 0
	for round := range 2 {
		for i, payload := range payloads {
			if round == 1 {
				i = len(payloads) - 1 - i
				payload = payloads[i]
			}
			want := &corepb.Txn{}
			if err := want.UnmarshalVT(payload); err != nil {
				t.Fatal(err)
			}
			got, err := d.decode(payload)
			if err != nil {
				t.Fatalf("%s: %v", names[i], err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("%s: decoded as\n%v\nwant\n%v", names[i], got, want)
			}
			if got == &d.txn {
				reused++
			}
		}
	}
	if want := 2 * 3 * 8; reused != want {
		t.Errorf("%d commands were decoded into memory that is used again, want %d", reused, want)
	}
}

func TestABrokenCommandIsRefusedAndTheNextOneIsNot(t *testing.T) {
	put := &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("key"), Value: []byte("value")}}}
	payload, err := (&corepb.Txn{Then: []*corepb.Op{put}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	d := &decoder{}
	for i := 1; i < len(payload); i++ {
		if _, err := d.decode(payload[:i]); err == nil {
			t.Errorf("the first %d bytes of a command were taken for one", i)
		}
		if txn, err := d.decode(payload); err != nil || string(txn.Then[0].GetPut().Value) != "value" {
			t.Fatalf("after a broken command: %v, %v", txn, err)
		}
	}
}
