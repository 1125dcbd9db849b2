package grpcsvc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/triglot/triglot/core"
)

// browser is an HTTP client of a node.
func (n *node) browser() *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return n.dial(ctx) }}
	n.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// reply is what a test looks at of an HTTP answer.
type reply struct {
	status int
	body   string
	header http.Header
}

func (n *node) ask(method, path, body string) reply {
	n.t.Helper()
	request := must(http.NewRequestWithContext(n.ctx, method, "http://node"+path, strings.NewReader(body)))(n.t)
	response := must(n.browser().Do(request))(n.t)
	defer response.Body.Close()
	read := must(io.ReadAll(response.Body))(n.t)
	return reply{response.StatusCode, string(read), response.Header}
}

// numbered are the parts of a header that differ from run to run.
var numbered = regexp.MustCompile(`"(cluster_id|member_id|raft_term)":\s*"\d+"`)

// plainJSON takes out spaces, which differ between builds by intention of the encoder, and what differs between runs.
func plainJSON(t testing.TB, text string) string {
	t.Helper()
	text = numbered.ReplaceAllString(text, `"$1":"N"`)
	var whole json.RawMessage
	if json.Unmarshal([]byte(text), &whole) != nil {
		return text
	}
	return string(must(json.Marshal(whole))(t))
}

const anyHeader = `"header":{"cluster_id":"N","member_id":"N","revision":"%d","raft_term":"N"}`

func TestTheGatewayAnswersAsEtcdDoes(t *testing.T) {
	n := startNode(t, Options{})
	headerAt := func(revision int) string { return fmt.Sprintf(anyHeader, revision) }
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		want                     string
	}{
		{"zero values are left out", "POST", "/v3/kv/range", `{"key":"YQ=="}`, 200, `{` + headerAt(1) + `}`},
		{"bytes are base64", "POST", "/v3/kv/put", `{"key":"YQ==","value":"MQ=="}`, 200, `{` + headerAt(2) + `}`},
		{"64 bits are text", "POST", "/v3/kv/range", `{"key":"YQ=="}`, 200, `{` + headerAt(2) +
			`,"kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1","value":"MQ=="}],"count":"1"}`},
		{"64 bits may come as numbers", "POST", "/v3/kv/range", `{"key":"YQ==","revision":1}`, 200, `{` + headerAt(2) + `}`},
		{"or as text", "POST", "/v3/kv/range", `{"key":"YQ==","revision":"1"}`, 200, `{` + headerAt(2) + `}`},
		{"names may come in camel case", "POST", "/v3/kv/range", `{"key":"YQ==","rangeEnd":"Yg==","countOnly":true}`, 200,
			`{` + headerAt(2) + `,"count":"1"}`},
		{"unknown fields are passed over", "POST", "/v3/kv/range", `{"key":"YQ==","count_only":true,"x":1}`, 200,
			`{` + headerAt(2) + `,"count":"1"}`},
		{"a transaction", "POST", "/v3/kv/txn",
			`{"compare":[{"target":"VERSION","key":"YQ==","version":"1"}],"success":[{"request_put":{"key":"Yg==","value":"Mg=="}}]}`, 200,
			`{` + headerAt(3) + `,"succeeded":true,"responses":[{"response_put":{"header":{"revision":"3"}}}]}`},
		{"old paths", "POST", "/v3beta/kv/deleterange", `{"key":"Yg=="}`, 200, `{` + headerAt(4) + `,"deleted":"1"}`},
		{"no key", "POST", "/v3/kv/range", `{}`, 400, `{"code":3,"message":"etcdserver: key is not provided"}`},
		{"a revision to come", "POST", "/v3/kv/range", `{"key":"YQ==","revision":"99"}`, 400,
			`{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}`},
		{"no such lease", "POST", "/v3/lease/revoke", `{"ID":"7"}`, 404, `{"code":5,"message":"etcdserver: requested lease not found"}`},
		{"a precondition", "POST", "/v3/auth/enable", `{}`, 400, `{"code":9,"message":"etcdserver: root user does not exist"}`},
		{"GET", "GET", "/v3/kv/range", ``, 501, `{"code":12,"message":"Method Not Allowed"}`},
		{"no such path", "POST", "/v3/nothing", `{}`, 404, `{"code":5,"message":"Not Found"}`},
	} {
		got := n.ask(c.method, c.path, c.body)
		if body := plainJSON(t, got.body); got.status != c.status || body != c.want {
			t.Errorf("%s: %d %s\nwant %d %s", c.what, got.status, body, c.status, c.want)
		}
		if kind := got.header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s: content type %q", c.what, kind)
		}
	}
	if got := n.ask("POST", "/v3/kv/range", `{"key":`); got.status != 400 || !strings.Contains(got.body, `"code":3`) {
		t.Errorf("half a request: %d %s", got.status, got.body)
	}
}

func TestTheGatewayRefusesABodyThatNoRequestCanNeed(t *testing.T) {
	n := startNode(t, Options{MaxRequestBytes: 1 << 10})
	value := strings.Repeat("A", 4<<10)
	if got := n.ask("POST", "/v3/kv/put", `{"key":"YQ==","value":"`+value+`"}`); !strings.Contains(got.body, "etcdserver: request is too large") {
		t.Errorf("a request over the limit: %d %s", got.status, got.body)
	}
	value = strings.Repeat("A", gatewayBytesFactor*(1<<10+messageOverheadBytes))
	if got := n.ask("POST", "/v3/kv/put", `{"key":"YQ==","value":"`+value+`"}`); got.status != 400 || !strings.Contains(got.body, "too large") {
		t.Errorf("a body over the limit: %d %.200s", got.status, got.body)
	}
	if r := n.get(&pb.RangeRequest{Key: []byte("a")}); r.Count != 0 {
		t.Errorf("something was written: %v", r)
	}
}

func TestTheGatewayStreamsAWatchAndShutdownEndsIt(t *testing.T) {
	n := startNode(t, Options{})
	request := must(http.NewRequestWithContext(n.ctx, "POST", "http://node/v3/watch", strings.NewReader(`{"create_request":{"key":"YQ=="}}`)))(t)
	response := must(n.browser().Do(request))(t)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		return plainJSON(t, lines.Text())
	}
	if got, want := next(), `{"result":{`+fmt.Sprintf(anyHeader, 1)+`,"created":true}}`; got != want {
		t.Errorf("created: %s\nwant %s", got, want)
	}
	n.put("a", "1")
	want := `{"result":{` + fmt.Sprintf(anyHeader, 2) + `,"events":[{"kv":{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1","value":"MQ=="}}]}}`
	if got := next(); got != want {
		t.Errorf("event: %s\nwant %s", got, want)
	}
	n.delete("a", "")
	if got := next(); !strings.Contains(got, `"type":"DELETE"`) {
		t.Errorf("delete: %s", got)
	}
	if err := n.server.Shutdown(n.ctx); err != nil {
		t.Fatal(err)
	}
	if got := next(); !strings.Contains(got, `"error":{"code":14`) {
		t.Errorf("end: %s", got)
	}
	if lines.Scan() {
		t.Errorf("after the end: %s", lines.Text())
	}
}

func TestTheGatewayKeepsALeaseAlive(t *testing.T) {
	n := startNode(t, Options{})
	if got := n.ask("POST", "/v3/lease/grant", `{"ID":7,"TTL":"60"}`); plainJSON(t, got.body) != `{`+fmt.Sprintf(anyHeader, 1)+`,"ID":"7","TTL":"60"}` {
		t.Errorf("grant: %d %s", got.status, got.body)
	}
	got := n.ask("POST", "/v3/lease/keepalive", `{"ID":"7"}`)
	if want := `{"result":{` + fmt.Sprintf(anyHeader, 1) + `,"ID":"7","TTL":"60"}}`; got.status != 200 || plainJSON(t, got.body) != want {
		t.Errorf("keep alive: %d %s\nwant %s", got.status, got.body, want)
	}
}

func TestAWatchOverAWebsocket(t *testing.T) {
	n := startNode(t, Options{})
	dialer := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return n.dial(ctx) }}
	conn, response, err := dialer.DialContext(n.ctx, "ws://node/v3/watch", nil)
	if err != nil {
		t.Fatal(err, response)
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"create_request":{"key":"YQ=="}}`)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"created":true`, `"value":"MQ=="`} {
		if _, message, err := conn.ReadMessage(); err != nil || !strings.Contains(plainJSON(t, string(message)), want) {
			t.Fatalf("%s, %v; want %s", message, err, want)
		}
		n.put("a", "1")
	}
	if err := n.server.Shutdown(n.ctx); err != nil { // although it is open
		t.Fatal(err)
	}
}

func TestProbesAnswerInEtcdsWords(t *testing.T) {
	n := startNode(t, Options{})
	const allOfReadyz = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n"
	table := []struct {
		path   string
		status int
		want   string
	}{
		{"/health", 200, `{"health":"true","reason":""}`},
		{"/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{"/livez", 200, "ok\n"},
		{"/readyz", 200, "ok\n"},
		{"/livez?verbose", 200, "[+]serializable_read ok\nok\n"},
		{"/readyz?verbose", 200, allOfReadyz + "ok\n"},
		{"/readyz?verbose&exclude=data_corruption&exclude=x&exclude=", 200, strings.TrimPrefix(allOfReadyz, "[+]data_corruption ok\n") + "ok\n"},
		{"/readyz/linearizable_read", 200, "ok\n"},
		{"/livez/serializable_read?verbose", 200, "[+]serializable_read ok\nok\n"},
		{"/readyz/nothing", 404, "404 page not found\n"},
	}
	for _, c := range table {
		if got := n.ask("GET", c.path, ""); got.status != c.status || got.body != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.path, got.status, got.body, c.status, c.want)
		} else if kind := got.header.Get("Content-Type"); kind != "text/plain; charset=utf-8" {
			t.Errorf("%s: content type %q", c.path, kind)
		}
	}
	if err := n.store.RaiseAlarm(n.ctx, core.AlarmNoSpace, n.server.memberID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/health", 503, `{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{"/health?exclude=NOSPACE", 200, `{"health":"true","reason":""}`},
		{"/readyz", 200, "ok\n"},
	} {
		if got := n.ask("GET", c.path, ""); got.status != c.status || got.body != c.want {
			t.Errorf("without space, %s: %d %q, want %d %q", c.path, got.status, got.body, c.status, c.want)
		}
	}
	if err := n.store.RaiseAlarm(n.ctx, core.AlarmCorrupt, n.server.memberID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/health?exclude=NOSPACE", 503, `{"health":"false","reason":"ALARM CORRUPT"}` + "\n"},
		{"/readyz/data_corruption", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"},
		{"/readyz?exclude=data_corruption", 200, "ok\n"},
		{"/livez", 200, "ok\n"},
	} {
		if got := n.ask("GET", c.path, ""); got.status != c.status || got.body != c.want {
			t.Errorf("corrupt, %s: %d %q, want %d %q", c.path, got.status, got.body, c.status, c.want)
		}
	}
}

func TestProbesOfAMemberThatHasNoStoreYet(t *testing.T) {
	mux := http.NewServeMux()
	Probes(mux, func() (*core.Store, error) { return nil, errors.New("the member is starting") }, NewMeters())
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	defer server.Close()
	for path, want := range map[string]string{
		"/livez":              "ok\n", // a restart does not help
		"/health":             `{"health":"false","reason":"the member is starting"}` + "\n",
		"/readyz/non_learner": "[-]non_learner failed: the member is starting\n\n",
	} {
		response := must(http.Get("http://" + listener.Addr().String() + path))(t)
		body := must(io.ReadAll(response.Body))(t)
		response.Body.Close()
		if string(body) != want || (response.StatusCode == 200) != (path == "/livez") {
			t.Errorf("%s: %d %q, want %q", path, response.StatusCode, body, want)
		}
	}
}

func TestWhatElseAClientPortAnswers(t *testing.T) {
	n := startNode(t, Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "numbers") })})
	for _, c := range []struct {
		method, path string
		status       int
		want         string // a part of the body
	}{
		{"GET", "/version", 200, `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{"GET", "/metrics", 200, "numbers"},
		{"GET", "/debug/vars", 200, `"memstats": {`},
		{"GET", "/", 404, "404 page not found\n"},
		{"GET", "/v2/keys", 404, "404 page not found\n"},
		{"OPTIONS", "/v3/kv/put", 200, ""},
		{"OPTIONS", "/nothing", 200, ""},
		{"POST", "/health", 405, "Method Not Allowed\n"},
		{"PUT", "/readyz", 405, "Method Not Allowed\n"},
		{"POST", "/livez/serializable_read", 405, "Method Not Allowed\n"},
		{"POST", "/version", 405, "Method Not Allowed\n"},
		{"POST", "/debug/vars", 405, "Method Not Allowed\n"},
	} {
		got := n.ask(c.method, c.path, "")
		if got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s %s: %d %.200q, want %d %q", c.method, c.path, got.status, got.body, c.status, c.want)
		}
		if allow := got.header.Get("Allow"); (got.status == 405) != (allow == "GET") {
			t.Errorf("%s %s: allow %q", c.method, c.path, allow)
		}
		if origin := got.header.Get("Access-Control-Allow-Origin"); origin != "*" {
			t.Errorf("%s %s: origin %q", c.method, c.path, origin)
		}
	}
	if got := startNode(t, Options{}).ask("GET", "/metrics", ""); got.status != 404 {
		t.Errorf("metrics that are not there: %d", got.status)
	}
}

func TestShutdownLetsARequestOverHTTPFinish(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	n := startNode(t, Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "whole")
	})})
	got := make(chan reply, 1)
	go func() { got <- n.ask("GET", "/metrics", "") }()
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- n.server.Shutdown(n.ctx) }()
	<-n.server.lifetime.Done()
	select {
	case err := <-ended:
		t.Errorf("shutdown did not wait: %v", err)
	case <-time.After(50 * time.Millisecond): // long enough for one that does not wait
	}
	close(finish)
	if r := <-got; r.body != "whole" {
		t.Errorf("answer: %v", r)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsARequestOverHTTPWhenItsTimeIsUp(t *testing.T) {
	begun := make(chan struct{})
	n := startNode(t, Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})})
	request := must(http.NewRequestWithContext(n.ctx, "GET", "http://node/metrics", nil))(t)
	failed := make(chan error, 1)
	go func() {
		response, err := n.browser().Do(request)
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	<-begun
	ctx, cancel := context.WithTimeout(n.ctx, 50*time.Millisecond)
	defer cancel()
	if err := n.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request had an answer")
	}
}

// http2Browser is a browser that speaks HTTP/2.
func (n *node) http2Browser() *http.Client {
	client := n.browser()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client.Transport.(*http.Transport).Protocols = protocols
	return client
}

func TestShutdownWaitsForAGatewayRequestOverHTTP2(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	n := startNode(t, Options{Unary: []grpc.UnaryServerInterceptor{
		func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			close(entered)
			select {
			case <-release:
				return handle(ctx, r)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}})
	request := must(http.NewRequestWithContext(n.ctx, http.MethodPost, "http://node/v3/kv/put", strings.NewReader(`{"key":"aw==","value":"dg=="}`)))(t)
	client := n.http2Browser()
	answered := make(chan reply, 1)
	go func() {
		response, err := client.Do(request)
		if err != nil {
			answered <- reply{body: err.Error()}
			return
		}
		defer response.Body.Close()
		read, _ := io.ReadAll(response.Body)
		answered <- reply{status: response.StatusCode, body: string(read)}
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- n.server.Shutdown(n.ctx) }()
	for { // until nobody is let in any more
		conn, err := n.dial(n.ctx)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if got := <-answered; got.status != http.StatusOK || !strings.Contains(got.body, "revision") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAPortForCallsAloneAnswersNothingElse(t *testing.T) {
	n := startNode(t, Options{})
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- n.server.ServeGRPC(listener) }()
	n.dial = listener.DialContext
	response := must(n.http2Browser().Get("http://node/version"))(t)
	defer response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("got %s", response.Status)
	}
	listener.Close()
	if err := <-served; err == nil {
		t.Error("it ended without a reason")
	}
}
