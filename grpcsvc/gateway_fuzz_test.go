package grpcsvc

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whatever is sent to the port over HTTP is answered, in time, and the server goes on.
func FuzzGateway(f *testing.F) {
	for _, seed := range []struct{ method, path, body string }{
		{"POST", "/v3/kv/range", `{"key":"YQ=="}`},
		{"POST", "/v3/kv/put", `{"key":"YQ==","value":"MQ==","lease":"7"}`},
		{"POST", "/v3/kv/txn", `{"compare":[{"target":"VERSION","key":"YQ==","version":"1"}],"success":[{"request_put":{"key":"Yg=="}}]}`},
		{"POST", "/v3/watch", `{"create_request":{"key":"YQ=="}}` + "\n" + `{"progress_request":{}}`},
		{"POST", "/v3/lease/keepalive", `{"ID":"7"}`},
		{"POST", "/v3/lock/lock", `{"name":"YQ=="}`},
		{"POST", "/v3beta/maintenance/status", `{}`},
		{"GET", "/v3/kv/range", `{"key":`},
		{"GET", "/readyz?verbose&exclude=x", ``},
		{"OPTIONS", "/%2e%2e/health", `[]`},
	} {
		f.Add(seed.method, seed.path, seed.body)
	}
	n := startNode(f, Options{})
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if strings.Contains(path, "/maintenance/") && strings.Contains(body, "CORRUPT") {
			t.Skip() // the alarm would refuse everything that comes after it
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // what a watch is given
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, "http://node", strings.NewReader(body))
		if err != nil {
			t.Skip() // no client can send it
		}
		if request.URL, err = request.URL.Parse(path); err != nil {
			t.Skip()
		}
		answered := make(chan struct{})
		answer := httptest.NewRecorder()
		go func() {
			defer close(answered)
			n.server.front.ServeHTTP(answer, request)
		}()
		select {
		case <-answered:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s %q with %q has no answer", method, path, body)
		}
		if answer.Code < 200 || answer.Code > 599 {
			t.Errorf("%s %q with %q: code %d", method, path, body, answer.Code)
		}
	})
}
