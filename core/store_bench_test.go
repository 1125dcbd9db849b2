package core

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkStorePut is a put from Submit to its result, on the real disk: 64 callers at a time share log entries.
func BenchmarkStorePut(b *testing.B) {
	s := openStore(b, b.TempDir())
	value := string(make([]byte, 128))
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprintf("g%06d/k%02d", n.Add(1)*7919%1000, n.Load()%100)
			if _, err := s.Do(context.Background(), oneOp(putOp(key, value))); err != nil {
				b.Error(err)
			}
		}
	})
}
