package grpcsvc

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestARequestForAHostThatIsNotAllowedIsMisdirected(t *testing.T) {
	n := startNode(t, Options{Hosts: []string{"node", "10.0.0.1"}})
	for host, status := range map[string]int{
		"node": 200, "node:2379": 200, "10.0.0.1:1": 200, "elsewhere": 421, "elsewhere:2379": 421, "node.elsewhere": 421,
	} {
		request := must(http.NewRequestWithContext(n.ctx, "GET", "http://node/version", nil))(t)
		request.Host = host
		response := must(n.browser().Do(request))(t)
		body := must(io.ReadAll(response.Body))(t)
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: %s", host, response.Status)
		}
		if status == 421 && !strings.Contains(string(body), "\netcd received your request, but the Host header was unrecognized.\n") {
			t.Errorf("%s: %s", host, body)
		}
	}
}

func TestOnlyPagesOfTheOriginsThatAreListedMayReadAnswers(t *testing.T) {
	n := startNode(t, Options{Origins: []string{"http://a.example"}})
	for origin, allowed := range map[string]string{"http://a.example": "http://a.example", "http://b.example": "", "": ""} {
		request := must(http.NewRequestWithContext(n.ctx, "GET", "http://node/version", nil))(t)
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		response := must(n.browser().Do(request))(t)
		response.Body.Close()
		if got := response.Header.Get("Access-Control-Allow-Origin"); response.StatusCode != 200 || got != allowed {
			t.Errorf("from %q: %s, allowed %q", origin, response.Status, got)
		}
	}
}

func TestWithoutTheGatewayThereIsTheRest(t *testing.T) {
	n := startNode(t, Options{NoGateway: true})
	if got := n.ask("POST", "/v3/kv/range", `{"key":"YQ=="}`); got.status != 404 {
		t.Errorf("a call: %d %s", got.status, got.body)
	}
	if got := n.ask("GET", "/health", ""); got.status != 200 {
		t.Errorf("health: %d %s", got.status, got.body)
	}
}
