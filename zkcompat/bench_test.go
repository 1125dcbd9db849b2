package zkcompat

import (
	"encoding/binary"
	"io"
	"testing"
)

// frames builds requests as they are on the wire.
func frames(n int, op int32, write func(*encoder)) []byte {
	var e encoder
	for i := range n {
		start := len(e.buf)
		e.int32(0)
		e.int32(int32(i))
		e.int32(op)
		write(&e)
		binary.BigEndian.PutUint32(e.buf[start:], uint32(len(e.buf)-start-lengthBytes))
	}
	return e.buf
}

// benchmarkPipeline sends requests in bursts of 64, whose answers are all of one size.
func benchmarkPipeline(b *testing.B, op int32, write func(*encoder)) {
	s := startServer(b, Options{})
	c := s.connect()
	c.create("/bench", string(make([]byte, 128)), modePersistent)
	c.call(op, write)
	c.send(op, write)
	size := lengthBytes + answerHeaderBytes + len(c.answer(c.xid).body.rest)
	const burst = 64
	requests, answers := frames(burst, op, write), make([]byte, burst*size)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += burst {
		c.raw(requests)
		if _, err := io.ReadFull(c.in, answers); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetData(b *testing.B) { benchmarkPipeline(b, opGetData, watchBody("/bench", false)) }

func BenchmarkExists(b *testing.B) { benchmarkPipeline(b, 3, watchBody("/bench", false)) }

func BenchmarkPing(b *testing.B) { benchmarkPipeline(b, 11, func(*encoder) {}) }

func BenchmarkSetData(b *testing.B) {
	benchmarkPipeline(b, 5, setBody("/bench", string(make([]byte, 128)), -1))
}
