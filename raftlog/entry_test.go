package raftlog

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func encode(stampMillis int64, ps []Proposal) []byte {
	data := make([]byte, headerBytes)
	for _, p := range ps {
		data = appendProposal(data, p.Origin, p.Seq, p.Payload)
	}
	putHeader(data, stampMillis, len(ps))
	return data
}

func equalProposals(a, b []Proposal) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Origin != b[i].Origin || a[i].Seq != b[i].Seq || !bytes.Equal(a[i].Payload, b[i].Payload) {
			return false
		}
	}
	return true
}

var sampleProposals = []Proposal{
	{Origin: 1, Seq: 0, Payload: nil},
	{Origin: math.MaxUint64, Seq: math.MaxUint64, Payload: []byte("x")},
	{Origin: 3, Seq: 128, Payload: bytes.Repeat([]byte("y"), 300)},
}

func TestEntriesDecodeToWhatWasEncoded(t *testing.T) {
	for n := range len(sampleProposals) + 1 {
		want := sampleProposals[:n]
		data := encode(-5, want)
		size := headerBytes
		for i := range want {
			size += want[i].encodedBytes()
		}
		if len(data) != size {
			t.Errorf("%d proposals: %d bytes, announced %d", n, len(data), size)
		}
		stamp, got, err := decodeEntry(nil, data)
		if err != nil || stamp != -5 || !equalProposals(got, want) {
			t.Errorf("%d proposals: %d %v %v", n, stamp, got, err)
		}
	}
}

func TestDecodingCopiesNoPayload(t *testing.T) {
	data := encode(1, sampleProposals[1:2])
	_, got, err := decodeEntry(nil, data)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] = 'z'
	if string(got[0].Payload) != "z" || cap(got[0].Payload) != 1 {
		t.Fatalf("payload %q with capacity %d", got[0].Payload, cap(got[0].Payload))
	}
}

func TestMalformedEntriesAreErrors(t *testing.T) {
	good := encode(1, sampleProposals)
	bad := map[string][]byte{
		"empty":          {},
		"later format":   append([]byte{entryFormat + 1}, good[1:]...),
		"trailing bytes": append(bytes.Clone(good), 0),
	}
	for i := 1; i < len(good); i++ {
		bad["cut to "+string(rune('0'+i))] = good[:i]
	}
	huge := bytes.Clone(good)
	putHeader(huge, 1, math.MaxUint32)
	bad["count of four billion"] = huge
	for name, data := range bad {
		if _, _, err := decodeEntry(nil, data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for n := range len(sampleProposals) + 1 {
		f.Add(encode(int64(n), sampleProposals[:n]))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		stamp, ps, err := decodeEntry(nil, data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		againStamp, again, err := decodeEntry(nil, encode(stamp, ps))
		if err != nil || againStamp != stamp || !equalProposals(again, ps) {
			t.Fatalf("%v %v became %v %v, %v", stamp, ps, againStamp, again, err)
		}
	})
}
