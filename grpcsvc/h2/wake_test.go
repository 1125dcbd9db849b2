package h2

import (
	"io"
	"net"
	"testing"
)

// Who waits for the client writes first what is to be written. What comes in the meantime must not be missed.
func TestWhatComesWhileAHandlerWritesWakesIt(t *testing.T) {
	for name, read := range map[string]func(*stream) error{
		"for a message": func(st *stream) error { _, err := st.message(); return err },
		"for a body":    func(st *stream) error { _, err := body{st}.Read(make([]byte, 1)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe() // a write to which lasts until all of it is read
			defer client.Close()
			c := newConn(New(withDefaults(Options{})), server)
			st := newStream(c, 1, &head{length: -1})
			defer st.cancel()
			pending := appendWindowUpdate(nil, connectionStream, 1)
			c.out = pending
			got := make(chan error, 1)
			go func() { got <- read(st) }()
			if _, err := io.ReadFull(client, make([]byte, 1)); err != nil { // so that the handler is in the midst of it
				t.Fatal(err)
			}
			c.mu.Lock()
			st.take(message([]byte("in")))
			c.mu.Unlock()
			if _, err := io.ReadFull(client, make([]byte, len(pending)-1)); err != nil {
				t.Fatal(err)
			}
			if err := await(t, got); err != nil {
				t.Error(err)
			}
		})
	}
}
