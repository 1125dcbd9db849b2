package h2

import (
	"runtime"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// BenchmarkCall is what a call costs among 64 that 8 clients make at a time, their clients' part included.
func BenchmarkCall(b *testing.B) {
	const clients, parallel = 8, 64
	h := start(b, Options{}, &service{})
	var conns [clients]*grpc.ClientConn
	for i := range conns {
		conns[i] = h.dial()
		if _, err := invoke(b.Context(), conns[i], echoPath, nil); err != nil {
			b.Fatal(err)
		}
	}
	in := make([]byte, 64)
	var next atomic.Uint32
	b.SetParallelism(max(parallel/runtime.GOMAXPROCS(0), 1))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn := conns[next.Add(1)%clients]
		for pb.Next() {
			if _, err := invoke(b.Context(), conn, echoPath, in); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkStream is what a message there and back costs on one stream.
func BenchmarkStream(b *testing.B) {
	h := start(b, Options{}, &service{})
	s := h.stream(b.Context(), h.dial(), chatPath)
	in, out := wrapperspb.Bytes(make([]byte, 64)), new(wrapperspb.BytesValue)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.SendMsg(in); err != nil {
			b.Fatal(err)
		}
		if err := s.RecvMsg(out); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeAnswer is a call whose answer is as large as a page of a list.
func BenchmarkLargeAnswer(b *testing.B) {
	h := start(b, Options{}, &service{})
	conn, in := h.dial(), make([]byte, 400<<10)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := invoke(b.Context(), conn, echoPath, in); err != nil {
			b.Fatal(err)
		}
	}
}
