package etcdfile

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

const (
	benchKeys  = 100_000
	benchValue = 256 // bytes
)

func benchStore(b *testing.B) *core.Store {
	b.Helper()
	s := openStore(b, b.TempDir())
	value := string(make([]byte, benchValue))
	for i := 0; i < benchKeys; i += 1000 {
		var ops []*corepb.Op
		for k := i; k < i+1000; k++ {
			ops = append(ops, put(fmt.Sprintf("/registry/%08d", k), value, 0))
		}
		do(b, s, ops...)
	}
	return s
}

// perKey reports the time that each key took.
func perKey(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

func BenchmarkMake(b *testing.B) {
	s := benchStore(b)
	view, err := s.View(b.Context(), core.Local)
	if err != nil {
		b.Fatal(err)
	}
	defer view.Close()
	dir := b.TempDir()
	b.ResetTimer()
	for range b.N {
		file, err := Make(b.Context(), dir, view)
		if err != nil {
			b.Fatal(err)
		}
		file.Close()
	}
	perKey(b)
}

func BenchmarkRestore(b *testing.B) {
	path := save(b, benchStore(b))
	b.ResetTimer()
	for i := range b.N {
		if _, err := restore(b.Context(), path, filepath.Join(b.TempDir(), fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	perKey(b)
}
