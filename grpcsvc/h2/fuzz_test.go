package h2

import (
	"context"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/metadata"
)

// Whatever a client sends behind the preface, nothing panics, and when the client is gone nothing of it is left: Shutdown, at the end
// of each input, waits for that.
func FuzzConnection(f *testing.F) {
	for _, test := range wrongFrames {
		f.Add(script(f, func(c *raw) {
			c.must(c.WriteSettings())
			c.open(1, false, callFields(chatPath)...)
			c.must(c.WriteRawFrame(test.kind, test.flags, test.stream, []byte(test.payload)))
		}))
	}
	for _, send := range []func(*raw){
		func(c *raw) { c.call(1, echoPath, []byte("in")) },
		func(c *raw) { c.call(1, blockPath, []byte("in"), "grpc-timeout", "1m") },
		func(c *raw) { c.call(1, chatPath, make([]byte, 100_000)) },
		func(c *raw) { c.call(1, countPath, make([]byte, 10)); c.must(c.WriteGoAway(0, 0, nil)) },
		func(c *raw) { c.call(1, echoPath, []byte("in"), "grpc-encoding", "gzip", "key-bin", "AAA") },
		func(c *raw) {
			c.must(c.WriteSettings(window(3), http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}))
			c.call(1, echoPath, []byte("in"))
			c.must(c.WriteWindowUpdate(1, 100))
			c.must(c.WriteRSTStream(1, http2.ErrCodeCancel))
		},
		func(c *raw) {
			c.open(1, false, ":method", "POST", ":scheme", "http", ":path", "/", "content-length", "3")
			c.must(c.WriteDataPadded(1, false, []byte("one"), make([]byte, 3)))
			c.open(1, true, "after", "all")
		},
		func(c *raw) {
			for id := range uint32(10) { // by the cache of headers
				c.call(2*id+1, echoPath, nil)
			}
		},
		func(c *raw) {
			block := c.encode(callFields(chatPath))
			c.must(c.WriteRawFrame(http2.FrameHeaders, flagEndStream, 1, block[:3]))
			c.must(c.WriteContinuation(1, true, block[3:]))
			c.must(c.WritePing(true, [8]byte([]byte(drainPing))))
		},
	} {
		f.Add(script(f, func(c *raw) { c.must(c.WriteSettings()); send(c) }))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPipes()
		startOn(t, p, Options{MessageBytesMax: 1 << 20, MaxStreams: 10, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		})}, &service{})
		nc := p.dial(t)
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, nc)
		}()
		_, _ = nc.Write(append([]byte(clientPreface), b...)) // an error is the server's right
		nc.Close()
		<-read
	})
}

// blocks cuts bytes into headers, each of which is preceded by its length, and gives as many as there are.
func blocks(b []byte) (blocks [][]byte) {
	for len(b) > 0 {
		n := min(int(b[0]), len(b)-1)
		blocks = append(blocks, b[1:1+n])
		b = b[1+n:]
	}
	return blocks
}

// A header that is looked up as a whole says what it would say if it was decoded field by field.
func FuzzDecode(f *testing.F) {
	seed := func(headers ...[]string) {
		c := &raw{t: f}
		script(f, func(s *raw) { c.encoder, c = s.encoder, s })
		var b []byte
		for _, fields := range headers {
			block := c.encode(fields)
			b = append(append(b, byte(len(block))), block...)
		}
		f.Add(b)
	}
	seed(callFields(echoPath), callFields(echoPath), callFields(echoPath))
	seed(callFields(echoPath), callFields(echoPath), callFields(chatPath), callFields(echoPath), callFields(chatPath), callFields(echoPath))
	seed(callFields(echoPath), callFields(echoPath, "grpc-timeout", "1S"), callFields(echoPath, "grpc-timeout", "1S"), callFields(echoPath))
	seed(callFields(echoPath, "k", strings.Repeat("x", 100), "b-bin", "AAA"), callFields(echoPath), callFields(echoPath))
	var subsets [][]string // more than are kept
	for n := range 256 {
		fields := []string{":method", "POST", ":scheme", "http", ":path", echoPath}
		for bit := range 7 {
			if n>>bit&1 == 1 {
				fields = append(fields, string(rune('a'+bit)), "1")
			}
		}
		subsets = append(subsets, fields)
	}
	seed(subsets...)
	f.Add([]byte("\x01\x82\x01\x82\x02\x20\x82\x01\x82\x01\xbe"))             // the table is emptied
	f.Add([]byte("\x05\x40\x01a\x01b\x01\xbe\x05\x40\x01c\x01d\x01\xbe\x00")) // one index means another field then
	server := New(withDefaults(Options{}))
	server.RegisterService(&serviceDesc, &service{})
	f.Fuzz(func(t *testing.T, b []byte) {
		one, two := net.Pipe()
		defer one.Close()
		defer two.Close()
		cached, plain := newConn(server, one), newConn(server, two)
		for i, block := range blocks(b) {
			clear(plain.heads)
			got, gotErr := cached.decode(block)
			want, wantErr := plain.decode(block)
			if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
				t.Fatalf("header %d: %v with the cache, %v without", i, gotErr, wantErr)
			}
			if gotErr != nil {
				return // the connection ends
			}
			if gotMD, wantMD := incoming(got.ctx), incoming(want.ctx); !reflect.DeepEqual(gotMD, wantMD) {
				t.Fatalf("header %d: metadata %v with the cache, %v without", i, gotMD, wantMD)
			}
			a, b := *got, *want
			a.ctx, b.ctx = nil, nil
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("header %d: %+v with the cache, %+v without", i, a, b)
			}
			if len(cached.heads) > headsMax {
				t.Fatalf("%d headers are kept", len(cached.heads))
			}
		}
	})
}

func incoming(ctx context.Context) metadata.MD {
	if ctx == nil {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return md
}
