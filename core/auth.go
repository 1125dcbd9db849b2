package core

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Users and roles: where they are kept, and what a user's roles add up to. The rules are etcd's.

// rootName is the user whom authentication cannot be on without, and the role that may do everything.
const rootName = "root"

func (t *tx) user(name string) *corepb.User {
	u := &corepb.User{}
	if !t.message(storage.UserKey(t.scratch[:0], name), u) {
		return nil
	}
	return u
}

func (t *tx) role(name string) *corepb.Role {
	r := &corepb.Role{}
	if !t.message(storage.RoleKey(t.scratch[:0], name), r) {
		return nil
	}
	return r
}

// storedMessage is a message of a table that the state machine keeps.
type storedMessage interface{ UnmarshalVT([]byte) error }

func (t *tx) message(key []byte, into storedMessage) bool {
	t.scratch = key
	value, ok := t.r.Get(key)
	return ok && into.UnmarshalVT(value) == nil // what does not decode was not written by this program
}

// eachUser goes over the users, in the order of their names.
func eachUser(r storage.Reader, visit func(*corepb.User)) {
	lower, upper := storage.UserBounds()
	eachStored(r, lower, upper, func() *corepb.User { return &corepb.User{} }, visit)
}

// eachRole goes over the roles, in the order of their names.
func eachRole(r storage.Reader, visit func(*corepb.Role)) {
	lower, upper := storage.RoleBounds()
	eachStored(r, lower, upper, func() *corepb.Role { return &corepb.Role{} }, visit)
}

func eachStored[M storedMessage](r storage.Reader, lower, upper []byte, empty func() M, visit func(M)) {
	iter := r.Scan(lower, upper)
	defer iter.Close()
	for iter.Next() {
		if m := empty(); m.UnmarshalVT(iter.Value()) == nil {
			visit(m)
		}
	}
}

// grant is what a user's roles add up to.
type grant struct {
	root        bool
	read, write spans
}

// mayDo says whether all of a range of keys may be read, or written.
func (g *grant) mayDo(key, end []byte, write bool) bool {
	if g.root {
		return true
	}
	allowed := g.read
	if write {
		allowed = g.write
	}
	return allowed.cover(key, end)
}

// span is a range of keys, from start up to but without end; an empty end is none. A single key is the span up to the
// next possible key.
type span struct{ start, end string }

func newSpan(key, end []byte) span {
	switch {
	case len(end) == 0:
		return span{string(key), string(key) + "\x00"}
	case len(end) == 1 && end[0] == 0:
		return span{string(key), ""}
	}
	return span{string(key), string(end)}
}

// spans are in order, with a gap between one and the next.
type spans []span

// joined makes spans of ranges in any order, which may overlap or touch.
func joined(ranges []span) spans {
	slices.SortFunc(ranges, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var out spans
	for _, next := range ranges {
		if last := len(out) - 1; last >= 0 && (out[last].end == "" || next.start <= out[last].end) {
			if out[last].end != "" && (next.end == "" || next.end > out[last].end) {
				out[last].end = next.end
			}
			continue
		}
		out = append(out, next)
	}
	return out
}

// cover says whether one span holds a whole range. A range that is empty because its end is not above its start needs one
// that reaches over both, as in etcd.
func (s spans) cover(key, end []byte) bool {
	wanted := newSpan(key, end)
	after, _ := slices.BinarySearchFunc(s, wanted.start, func(have span, start string) int {
		if have.start <= start {
			return -1
		}
		return 1
	})
	if after == 0 {
		return false
	}
	have := s[after-1]
	if wanted.end == "" {
		return have.end == ""
	}
	return have.start < wanted.end && (have.end == "" || (have.end >= wanted.end && have.end > wanted.start))
}

// grantOf adds up a user's roles, nil when there is no such user.
func (t *tx) grantOf(name string) *grant {
	user := t.user(name)
	if user == nil {
		return nil
	}
	g := &grant{}
	var read, write []span
	for _, granted := range user.Roles {
		if granted == rootName {
			return &grant{root: true}
		}
		role := t.role(granted)
		if role == nil {
			continue
		}
		for _, p := range role.Permissions {
			if p.Type != corepb.Permission_WRITE {
				read = append(read, newSpan(p.Key, p.End))
			}
			if p.Type != corepb.Permission_READ {
				write = append(write, newSpan(p.Key, p.End))
			}
		}
	}
	g.read, g.write = joined(read), joined(write)
	return g
}

// grants remembers what users' roles add up to, at one auth revision.
type grants struct {
	revision uint64

	mu    sync.RWMutex // guards the map
	users map[string]*grant
}

func (g *grants) of(t *tx, name string) *grant {
	g.mu.RLock()
	known, ok := g.users[name]
	g.mu.RUnlock()
	if ok {
		return known
	}
	added := t.grantOf(name)
	if added == nil {
		return nil // strangers are not remembered: there is no end of them
	}
	g.mu.Lock()
	g.users[name] = added
	g.mu.Unlock()
	return added
}

// grantCache holds the grants of the newest auth revision that anybody asked for. A revision stands for one content of
// the tables, since the commands that change them stand alone and are never taken back.
type grantCache struct {
	mu      sync.Mutex // guards current
	current *grants
}

// at gives the grants of an auth revision. A nil cache remembers nothing.
func (c *grantCache) at(revision uint64) *grants {
	fresh := func() *grants { return &grants{revision: revision, users: map[string]*grant{}} }
	if c == nil {
		return fresh()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.current != nil && c.current.revision == revision:
		return c.current
	case c.current != nil && c.current.revision > revision: // an old view
		return fresh()
	}
	c.current = fresh()
	return c.current
}

// comparePermissions orders the permissions of a role.
func comparePermissions(a, b *corepb.Permission) int {
	return cmp.Or(bytes.Compare(a.Key, b.Key), bytes.Compare(a.End, b.End))
}
