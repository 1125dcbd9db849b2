package h2

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Requests that are no calls: probes, metrics, the gateway. They come here when a client that speaks HTTP/2 sends them, over TLS
// above all, on the same connection as its calls perhaps.

// serveHTTP has a request answered by the handler of net/http. As there, one that panics has its stream cut and no more.
func (s *Server) serveHTTP(st *stream) {
	w := &responseWriter{st: st, header: http.Header{}}
	defer func() {
		if fault := recover(); fault != nil {
			if fault != http.ErrAbortHandler {
				s.opts.Logger.Error("a request over HTTP met a fault of ours", "path", st.head.path, "fault", fault, "stack", string(debug.Stack()))
			}
			st.cut()
		}
	}()
	r, err := st.httpRequest()
	switch {
	case err != nil:
		http.Error(w, "Bad Request", http.StatusBadRequest)
	case s.opts.HTTP == nil:
		http.Error(w, "Not Found", http.StatusNotFound)
	default:
		s.opts.HTTP.ServeHTTP(w, r)
	}
	w.finish()
}

// cut ends a stream in the midst of its answer.
func (st *stream) cut() {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.ended == nil {
		st.c.out = appendReset(st.c.out, st.id, codeInternal)
		st.c.drop(st, errEnded)
	}
	st.leave()
}

// httpRequest makes a request of net/http.
func (st *stream) httpRequest() (*http.Request, error) {
	h := st.head
	header := http.Header{}
	for _, f := range h.fields {
		header.Add(f.Name, f.Value)
	}
	if cookies := header["Cookie"]; len(cookies) > 1 { // may be cut into several for the table's sake
		header.Set("Cookie", strings.Join(cookies, "; "))
	}
	r := &http.Request{
		Method: h.method, Proto: "HTTP/2.0", ProtoMajor: 2, Header: header, Host: h.authority, RequestURI: h.path,
		ContentLength: h.length, RemoteAddr: st.c.nc.RemoteAddr().String(), TLS: st.c.tls, Body: body{st},
	}
	if st.bare {
		r.ContentLength, r.Body = 0, http.NoBody
	}
	if r.Host == "" {
		r.Host = header.Get("Host")
	}
	var err error
	if r.URL, err = url.ParseRequestURI(h.path); err != nil {
		return nil, err
	}
	return r.WithContext(st.ctx), nil
}

// body is what a client sends behind the header of a request.
type body struct{ st *stream }

// Read waits for more of it.
func (b body) Read(p []byte) (int, error) {
	st, c := b.st, b.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(st.in) == 0 {
		if st.ended != nil {
			return 0, st.ended
		}
		if st.received {
			return 0, io.EOF
		}
		if err := st.awaitNews(); err != nil {
			return 0, err
		}
	}
	n := copy(p, st.in)
	if st.in = st.in[n:]; len(st.in) == 0 {
		st.in = nil
	}
	st.giveBack(len(st.in))
	c.write()
	return n, nil
}

// Close implements io.Closer. What is not read is dropped with the stream.
func (body) Close() error { return nil }

// responseBytesMax is how much of a response is held back, so that a short one is sent as a whole, with its length.
const responseBytesMax = 16 << 10

// responseWriter sends what a handler of net/http answers.
type responseWriter struct {
	st     *stream
	header http.Header
	status int         // 0: none yet
	sent   http.Header // what header was when there was a status
	buf    bytes.Buffer
	err    error // why no more can be sent
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // what is provisional is not needed
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.err != nil:
		return 0, w.err
	case !w.mayHaveBody():
		return 0, http.ErrBodyNotAllowed
	case !w.hasBody():
		return len(b), nil
	}
	if n, _ := w.buf.Write(b); w.buf.Len() > responseBytesMax {
		w.send(false)
		return n, w.err
	}
	return len(b), nil
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() {
	w.WriteHeader(http.StatusOK)
	w.send(false)
}

func (w *responseWriter) mayHaveBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

func (w *responseWriter) hasBody() bool {
	return w.st.head.method != http.MethodHead && w.mayHaveBody()
}

// send sends what is held back, with the header before it if that is not out.
func (w *responseWriter) send(last bool) {
	st, c := w.st, w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.err = c.awaitRoom(st); w.err != nil {
		return
	}
	ends := last && w.buf.Len() == 0
	if !st.headed {
		st.headed = true
		c.appendHeaders(st.id, ends, w.fields(last)...)
	} else if ends {
		c.out = appendFrameHead(c.out, 0, frameData, flagEndStream, st.id)
	}
	if w.buf.Len() > 0 {
		w.err = c.send(st, w.buf.Bytes(), last)
		w.buf.Reset()
	}
	if !last {
		c.write()
	}
}

// fields are those of the response's header.
func (w *responseWriter) fields(whole bool) []hpack.HeaderField {
	fields := []hpack.HeaderField{{Name: ":status", Value: strconv.Itoa(w.status), Sensitive: true}}
	if w.hasBody() {
		if w.sent.Get("Content-Type") == "" && w.buf.Len() > 0 {
			w.sent.Set("Content-Type", http.DetectContentType(w.buf.Bytes()))
		}
		if whole && w.sent.Get("Content-Length") == "" {
			w.sent.Set("Content-Length", strconv.Itoa(w.buf.Len()))
		}
	}
	if w.sent.Get("Date") == "" {
		w.sent.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	for _, name := range sortedNames(w.sent) {
		for _, value := range w.sent[name] {
			fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: value, Sensitive: true})
		}
	}
	return fields
}

// sortedNames gives the names of the fields that HTTP/2 has.
func sortedNames(header http.Header) []string {
	var names []string
	for name := range header {
		switch name {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// finish ends the response.
func (w *responseWriter) finish() {
	w.WriteHeader(http.StatusOK)
	w.send(true)
	st, c := w.st, w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.ended == nil && w.err == nil {
		c.close(st)
		st.ended = errEnded
		st.in = nil
	}
	st.leave()
}
