package h2

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Requests that are no calls, by the client of net/http.

// serveFunc is a server that has them handled by a function.
func serveFunc(t testing.TB, handle http.HandlerFunc) *harness {
	return start(t, Options{HTTP: handle}, &service{})
}

// client gives a client that speaks HTTP/2 without TLS.
func (h *harness) client() *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// do makes a request, and reads its response.
func (h *harness) do(method, path string, body io.Reader) (*http.Response, string) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(patient(h.t), method, "http://"+h.addr+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.send(h.client(), r)
}

func (h *harness) send(client *http.Client, r *http.Request) (*http.Response, string) {
	h.t.Helper()
	response, err := client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response, string(b)
}

func TestARequestIsAnswered(t *testing.T) {
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.URL.Path != "/a path" || r.URL.Query().Get("q") != "1" || r.RequestURI != "/a%20path?q=1" || r.RemoteAddr == "" || r.TLS != nil {
			t.Errorf("the request is %+v", r)
		}
		if r.Header.Get("X-Sent") != "it" || r.Header.Get("Cookie") != "a=1; b=2" {
			t.Errorf("its header is %v", r.Header)
		}
		w.Header().Set("X-Answer", r.Host)
		w.Header().Set("Connection", "close") // is not for HTTP/2
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout")
	})
	r, err := http.NewRequestWithContext(patient(t), "GET", "http://"+h.addr+"/a%20path?q=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Sent", "it")
	r.Header.Set("Cookie", "a=1; b=2")
	response, body := h.send(h.client(), r)
	if response.StatusCode != http.StatusTeapot || body != "short and stout" || response.ContentLength != int64(len(body)) ||
		response.Header.Get("X-Answer") != h.addr || response.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %+v with %q", response, body)
	}
}

func TestResponsesWithoutABodyHaveNone(t *testing.T) {
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if status := r.URL.Query().Get("status"); status != "" {
			n, _ := strconv.Atoi(status)
			w.WriteHeader(n)
		}
		_, _ = io.WriteString(w, r.URL.Query().Get("text"))
	})
	for _, test := range []struct {
		method, query string
		status        int
	}{
		{"HEAD", "?text=body", 200}, {"GET", "", 200}, {"GET", "?status=204&text=body", 204}, {"GET", "?status=304&text=body", 304},
		{"POST", "?status=201", 201},
	} {
		if response, body := h.do(test.method, "/"+test.query, nil); response.StatusCode != test.status || body != "" {
			t.Errorf("%s %s: got %d %q", test.method, test.query, response.StatusCode, body)
		}
	}
}

func TestARequestsBodyIsRead(t *testing.T) {
	lengths := make(chan int64, 1)
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		lengths <- r.ContentLength
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	})
	for _, size := range []int{0, 1, 1000, streamWindow, streamWindow + 1, 3 << 20} {
		in := strings.Repeat("x", size)
		for name, test := range map[string]struct {
			body   io.Reader
			length int64
		}{
			"known":   {strings.NewReader(in), int64(size)},
			"unknown": {struct{ io.Reader }{strings.NewReader(in)}, -1},
		} {
			response, body := h.do("POST", "/", test.body)
			if response.StatusCode != 200 || body != in {
				t.Errorf("%d bytes of %s length: got %d and %d bytes", size, name, response.StatusCode, len(body))
			}
			if got := await(t, lengths); got != test.length && size > 0 { // that of nothing may be known
				t.Errorf("%d bytes of %s length: ContentLength is %d", size, name, got)
			}
		}
	}
}

// As net/http has it, so that whoever passes a request on does not take it for one with a body.
func TestARequestWithoutBodyHasTheLengthZero(t *testing.T) {
	lengths := make(chan int64, 1)
	h := serveFunc(t, func(_ http.ResponseWriter, r *http.Request) { lengths <- r.ContentLength })
	h.do("GET", "/", nil)
	if got := await(t, lengths); got != 0 {
		t.Errorf("ContentLength is %d", got)
	}
}

func TestAResponseMayBeLargerThanTheWindow(t *testing.T) {
	want := noise(9 << 20)
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		for rest := want; len(rest) > 0; rest = rest[min(len(rest), 100_000):] {
			if _, err := w.Write(rest[:min(len(rest), 100_000)]); err != nil {
				t.Error(err)
			}
		}
	})
	if _, got := h.do("GET", "/", nil); !bytes.Equal([]byte(got), want) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestWhatIsFlushedArrives(t *testing.T) {
	heard := make(chan struct{})
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush() // the header alone
		await(t, heard)
		for _, part := range []string{"one", "two"} {
			_, _ = io.WriteString(w, part)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			await(t, heard)
		}
	})
	response, err := h.client().Get("http://" + h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	heard <- struct{}{}
	for _, want := range []string{"one", "two"} {
		part := make([]byte, 3)
		if _, err := io.ReadFull(response.Body, part); err != nil || string(part) != want {
			t.Errorf("got %q, %v", part, err)
		}
		heard <- struct{}{}
	}
	if n, err := response.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestARequestThatIsGivenUpEndsItsContext(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 2)
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
		_, err := r.Body.Read(make([]byte, 1))
		ended <- err
		_, err = w.Write(make([]byte, 2*responseBytesMax))
		ended <- err
	})
	c := h.greeted()
	c.open(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "test")
	await(t, begun)
	c.must(c.WriteRSTStream(1, http2.ErrCodeCancel))
	for range 2 {
		if err := await(t, ended); err == nil {
			t.Error("the handler met no error")
		}
	}
	c.wantEcho(3)
}

func TestAHandlerThatPanicsHasItsStreamCut(t *testing.T) {
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/at-once":
			panic("a fault")
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/later":
			w.(http.Flusher).Flush()
			panic("a fault")
		}
	})
	c := h.greeted()
	for i, path := range []string{"/at-once", "/abort", "/later"} {
		id := uint32(2*i + 1)
		c.open(id, true, ":method", "GET", ":scheme", "http", ":path", path, ":authority", "test")
		if code := c.reset(id); code != http2.ErrCodeInternal {
			t.Errorf("%s: %v", path, code)
		}
	}
	c.wantEcho(7)
}

func TestARequestThatNobodyHandlesIsNotFound(t *testing.T) {
	h := start(t, Options{}, &service{})
	if response, _ := h.do("POST", "/anything", strings.NewReader("body")); response.StatusCode != http.StatusNotFound {
		t.Errorf("got %d", response.StatusCode)
	}
}

// What looks like a call of gRPC and is none goes to the handler too.
func TestWhatIsNoCallIsARequest(t *testing.T) {
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusAccepted) })
	c := h.greeted()
	for i, fields := range [][]string{
		{":method", "GET", ":scheme", "http", ":path", echoPath, "content-type", "application/grpc"},
		{":method", "POST", ":scheme", "http", ":path", echoPath, "content-type", "application/grpc-web"},
		{":method", "POST", ":scheme", "http", ":path", echoPath},
		{":method", "OPTIONS", ":scheme", "http", ":path", "*"},
	} {
		id := uint32(2*i + 1)
		c.open(id, true, fields...)
		if r := c.answer(id); r.header[":status"] != "202" {
			t.Errorf("%v: %+v", fields, r)
		}
	}
}

func TestAnAnswerBeforeTheRequestIsReadAsksForNoMore(t *testing.T) {
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	c := h.greeted()
	c.open(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "test")
	if r := c.answer(1); r.header[":status"] != "413" || string(r.body) != "too much\n" {
		t.Errorf("got %+v", r)
	}
	if code := c.reset(1); code != http2.ErrCodeNo {
		t.Errorf("got %v", code)
	}
	c.must(c.WriteData(1, true, []byte("which has crossed it")))
	c.wantEcho(3)
}

func TestShutdownWaitsForARequest(t *testing.T) {
	begun, proceed := make(chan struct{}), make(chan struct{})
	h := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-proceed
		_, _ = io.WriteString(w, "done")
	})
	c := h.greeted()
	c.open(1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "test")
	await(t, begun)
	ended := h.shutdown(patient(t))
	c.toldOfDrain()
	c.knowDrain()
	close(proceed)
	if r := c.answer(1); string(r.body) != "done" {
		t.Errorf("got %+v", r)
	}
	c.over()
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}
