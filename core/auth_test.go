package core

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// Permissions add up to what single keys say: a range is covered when every key of it is.
func TestSpansCoverWhatTheirKeysCover(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	letter := func() []byte { return []byte{byte('a' + r.IntN(8))} }
	for range 20_000 {
		var ranges []span
		holds := func(key byte) bool {
			for _, s := range ranges {
				if s.start <= string(key) && (s.end == "" || string(key) < s.end) {
					return true
				}
			}
			return false
		}
		for range r.IntN(4) {
			start, end := letter(), letter()
			if string(start) < string(end) {
				ranges = append(ranges, newSpan(start, end))
			} else if r.IntN(8) == 0 {
				ranges = append(ranges, newSpan(start, everyKey))
			}
		}
		start, end := letter(), letter()
		if string(start) >= string(end) {
			continue
		}
		want := true
		for key := start[0]; key < end[0]; key++ {
			want = want && holds(key)
		}
		copied := append([]span(nil), ranges...)
		if got := joined(copied).cover(start, end); got != want {
			t.Fatalf("%q cover [%s, %s): %v", ranges, start, end, got)
		}
	}
}

func TestSpansAtTheirEdges(t *testing.T) {
	all := joined([]span{newSpan(everyKey, everyKey)})
	point := joined([]span{newSpan([]byte("k"), nil)})
	some := joined([]span{newSpan([]byte("b"), []byte("d")), newSpan([]byte("d"), []byte("f"))})
	for _, test := range []struct {
		name     string
		have     spans
		key, end string
		want     bool
	}{
		{"everything holds everything", all, "\x00", "\x00", true},
		{"everything holds a key", all, "k", "", true},
		{"a key holds itself", point, "k", "", true},
		{"a key holds the range that is itself", point, "k", "k\x00", true},
		{"a key holds nothing that starts with it", point, "k0", "", false},
		{"a key does not hold a longer range", point, "k", "l", false},
		{"ranges that touch are one", some, "b", "f", true},
		{"up to the end and not beyond", some, "b", "f\x00", false},
		{"the end is outside", some, "f", "", false},
		{"no end needs no end", some, "b", "\x00", false},
		{"a range the wrong way round, within", some, "e", "c", true},
		{"a range the wrong way round, across the start", some, "e", "a", false},
		{"nothing holds nothing", nil, "k", "", false},
	} {
		if got := test.have.cover([]byte(test.key), []byte(test.end)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestTokensEndWithTheirTimeTheirUserAndAuthentication(t *testing.T) {
	now := int64(0)
	tokens := newTokens(time.Second, func() int64 { return now })
	is := func(token, want string) {
		t.Helper()
		if user, known := tokens.user(token); user != want || known != (want != "") {
			t.Errorf("%s at %d is of %q, %v; want %q", token, now, user, known, want)
		}
	}
	tokens.follow([]loginChange{{token: "a", user: "anna"}, {token: "b", user: "bert"}, {token: "b2", user: "bert"}})
	is("c", "")
	now = 900
	is("a", "anna") // which puts off its end
	now = 1500
	is("a", "anna")
	is("b", "")
	tokens.follow([]loginChange{{token: "b", user: "bert"}, {user: "anna"}})
	is("a", "")
	is("b", "bert")
	tokens.follow([]loginChange{{}, {token: "d", user: "dora"}})
	is("b", "")
	is("d", "dora")
}

func TestTokensThatAreOverTakeNoRoom(t *testing.T) {
	now := int64(0)
	tokens := newTokens(time.Second, func() int64 { return now })
	for i := range 10 * tokensSweepMin {
		now = int64(i)
		tokens.follow([]loginChange{{token: tokenPrefix(), user: "anna"}})
	}
	if n := len(tokens.byToken); n > 3*tokensSweepMin {
		t.Errorf("%d tokens are held, of which a thousand are good", n)
	}
}

// rootCaller may do everything.
var rootCaller = &corepb.Caller{User: rootName, AuthRevision: AuthRevisionAny}

// enableAuth makes a user root with a password, and turns authentication on.
func enableAuth(t *testing.T, s *Store) {
	t.Helper()
	password, err := s.HashPassword(t.Context(), "secret", 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []*corepb.Op{
		opUserAdd(&corepb.UserAdd{Name: rootName, Password: password}), opUserGrant(rootName, rootName),
		{Op: &corepb.Op_AuthEnable{AuthEnable: &corepb.AuthEnable{}}},
	} {
		if result, err := s.Do(t.Context(), oneOp(op)); err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
	}
}

func TestALoginNeedsThePasswordAndGivesATokenThatIsKnown(t *testing.T) {
	s := openStore(t, t.TempDir())
	if _, err := s.Login(t.Context(), rootName, "secret"); !errors.Is(err, ErrAuthDisabled) {
		t.Errorf("while authentication is off: %v", err)
	}
	enableAuth(t, s)
	for _, wrong := range []struct{ user, password string }{{rootName, "other"}, {rootName, ""}, {"nobody", "secret"}} {
		if _, err := s.Login(t.Context(), wrong.user, wrong.password); !errors.Is(err, ErrAuthFailed) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	token, err := s.Login(t.Context(), rootName, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if user, known := s.TokenUser(t.Context(), token); user != rootName || !known {
		t.Errorf("the token is of %q, %v", user, known)
	}
	for _, unknown := range []string{"", "x", "x.", "x.y", "x.1", token + "x"} {
		if _, known := s.TokenUser(t.Context(), unknown); known {
			t.Errorf("the token %q is known", unknown)
		}
	}
}

// A view that nobody is named for shows nothing while authentication is on, also where its methods answer no error.
func TestAViewShowsOnlyWhatItsCallerMayRead(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, op := range []*corepb.Op{putOp("/n", "v"), putOp("k", "v")} {
		if _, err := s.Do(t.Context(), oneOp(op)); err != nil {
			t.Fatal(err)
		}
	}
	enableAuth(t, s)
	reads := map[string]func(*View) bool{
		"a key":        func(v *View) bool { return v.Get(0, []byte("k")) != nil },
		"a node":       func(v *View) bool { _, _, ok := v.Node("/n"); return ok },
		"a stat":       func(v *View) bool { _, ok := v.Stat("/n"); return ok },
		"the children": func(v *View) bool { _, _, ok := v.Children("/"); return ok },
	}
	for _, caller := range []*corepb.Caller{nil, {User: "eve", AuthRevision: AuthRevisionAny}, rootCaller} {
		for name, read := range reads {
			view, err := s.View(t.Context(), Local)
			if err != nil {
				t.Fatal(err)
			}
			view.As(caller)
			shown, err := read(view), view.Err()
			if may := caller == rootCaller; shown != may || (err == nil) != may {
				t.Errorf("%v reads %s: %v, %v", caller, name, shown, err)
			}
			view.Close()
		}
	}
}
