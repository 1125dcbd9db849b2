package resp

import (
	"strings"
	"testing"
	"time"
)

func TestGlobMatchesAsRedisDoes(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", false}, {"*", "abc", true}, {"**", "abc", true}, {"a", "a", true},
		{"a", "b", false}, {"a", "", false}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abbc", true},
		{"a*d", "abbc", false}, {"a*b*c", "aXbYbZc", true}, {"?", "a", true}, {"?", "", false}, {"a?c", "abc", true},
		{"[abc]", "b", true}, {"[abc]", "d", false}, {"[^abc]", "d", true}, {"[^abc]", "a", false}, {"[a-c]", "b", true},
		{"[c-a]", "b", true}, {"[a-c]x", "bx", true}, {"[^a-c]", "b", false}, {"[]a]", "a", false}, {"[]", "a", false},
		{"[^]", "a", true}, {"[a", "a", true}, {"[a", "b", false}, {"[a-", "-", true}, {"[a-]", "]", true},
		{`[\]]`, "]", true}, {`[\a-c]`, "b", false}, {`[\a-c]`, "-", true}, {`[a\`, `\`, true}, {`\*`, "*", true},
		{`\*`, "a", false}, {`\`, `\`, true}, {`a\?`, "a?", true}, {"[[]", "[", true}, {"*[", "[", false},
		{"h[a-b]llo", "hallo", true}, {"h?llo*", "hello world", true}, {"*a", "aa", true}, {"a*", "", false},
		{"*a*b", "ab", true}, {"\xff*", "\xff\x00", true},
	} {
		if got := globMatch([]byte(c.pattern), []byte(c.s)); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.s, got)
		}
	}
}

func TestGlobNeedsNoExponentialTime(t *testing.T) {
	pattern := strings.Repeat("a*", 200) + "b"
	s := strings.Repeat("a", 20000)
	start := time.Now()
	if globMatch([]byte(pattern), []byte(s)) {
		t.Fatal("matches")
	}
	if took := time.Since(start); took > patience {
		t.Fatalf("took %v", took)
	}
}

// slowGlob is the definition: * stands for any number of bytes.
func slowGlob(p, s []byte) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == '*' {
		for i := 0; i <= len(s); i++ {
			if slowGlob(p[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	if len(s) == 0 {
		return false
	}
	next, ok := globOne(p, 0, s[0])
	return ok && slowGlob(p[next:], s[1:])
}

func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"a*b?[a-c]", `\*[^]`, "[", "***", `[\`, "[a-"} {
		f.Add([]byte(seed), []byte("aabbc"))
		f.Add([]byte(seed), []byte(""))
	}
	f.Fuzz(func(t *testing.T, pattern, s []byte) {
		if len(pattern) > 12 || len(s) > 12 {
			globMatch(pattern, s) // must end, and not fail
			return
		}
		want := slowGlob(pattern, s)
		if len(s) == 0 {
			want = len(pattern) == 0 // Redis' exception: there is nothing for a * to look at
		}
		if got := globMatch(pattern, s); got != want {
			t.Fatalf("%q against %q: %v, want %v", pattern, s, got, want)
		}
	})
}
