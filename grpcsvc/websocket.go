package grpcsvc

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// The gateway's streams over a websocket, for pages in browsers: each message of the client is one JSON request, and each
// answer one message. Over plain HTTP/1 a client cannot send more once it is being answered.

// websocketWriteTimeout is how long a client may take none of what it is sent.
const websocketWriteTimeout = time.Minute

// bridge serves a call of the gateway over a websocket, until the call or the client ends.
func (g *gateway) bridge(w http.ResponseWriter, r *http.Request) {
	protocol := r.Header.Get("Sec-WebSocket-Protocol")
	token, withToken := strings.CutPrefix(protocol, "Bearer")
	var answer http.Header
	if withToken {
		answer = http.Header{"Sec-WebSocket-Protocol": {"Bearer"}}
	}
	g.bridges.Add(1) // while net/http still counts the request, so that shutdown does not miss it
	defer g.bridges.Done()
	conn, err := g.upgrade.Upgrade(w, r, answer) // which answers when it fails
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetReadLimit(g.bytesMax)
	defer context.AfterFunc(g.cutoff, func() { conn.Close() })()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()

	call := r.Clone(ctx)
	call.Method = http.MethodPost
	if withToken { // scripts in browsers can set no other header
		call.Header.Set("Authorization", "Bearer "+strings.Trim(token, ", "))
	}
	body, messages := io.Pipe()
	call.Body, call.ContentLength = body, -1
	received := make(chan struct{})
	go func() {
		defer close(received)
		defer cancel()
		passMessages(conn, messages)
		messages.Close()
	}()
	out := &messageWriter{conn: conn, header: http.Header{}}
	g.mux.ServeHTTP(out, call)
	out.finish()
	messages.Close() // so that nobody waits to hand on, or for more
	conn.Close()
	<-received
}

// passMessages hands on what a client sends, a line for each message, until it goes or sends one that is too large.
func passMessages(conn *websocket.Conn, to io.Writer) {
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if _, err := to.Write(append(message, '\n')); err != nil {
			return
		}
	}
}

// messageWriter is a ResponseWriter that sends each line as a message. The code of the answer has no place; what went wrong
// is in its body.
type messageWriter struct {
	conn   *websocket.Conn
	header http.Header
	line   []byte // not whole yet
}

func (m *messageWriter) Header() http.Header { return m.header }
func (m *messageWriter) WriteHeader(int)     {}
func (m *messageWriter) Flush()              {}

func (m *messageWriter) Write(p []byte) (int, error) {
	m.line = append(m.line, p...)
	for {
		line, rest, whole := bytes.Cut(m.line, []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		if err := m.send(line); err != nil {
			return 0, err
		}
		m.line = append(m.line[:0], rest...)
	}
}

func (m *messageWriter) send(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	if err := m.conn.SetWriteDeadline(time.Now().Add(websocketWriteTimeout)); err != nil {
		return err
	}
	return m.conn.WriteMessage(websocket.TextMessage, line)
}

// finish sends what has no end of line, and says goodbye.
func (m *messageWriter) finish() {
	if m.send(m.line) == nil {
		goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = m.conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(time.Second)) // it may be gone
	}
}
