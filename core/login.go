package core

import (
	"context"
	"crypto/rand"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Logins: how somebody is recognised by a password, and by a token afterwards. Tokens pass through the log, so that every
// member knows those that any of them gave, and are kept in memory alone. A token ends with the index of its entry: a
// member that has not come so far waits.

const (
	tokenTTLDefault = 5 * time.Minute

	tokenSeparator    = "."
	tokenPrefixLetter = 16
)

// AuthRevisionAny is the revision of a caller to whom changes of users and roles meanwhile do not matter, because who they
// are was made sure of by the connection, once.
const AuthRevisionAny = math.MaxUint64

// authOf packs what State says about authentication into one word.
func authOf(state *storage.State) uint64 {
	word := state.AuthRevision << 1
	if state.AuthEnabled {
		word |= 1
	}
	return word
}

// AuthEnabled says whether authentication is on, as this node knows it, and which revision users and roles have.
func (s *Store) AuthEnabled() (enabled bool, revision uint64) {
	word := s.auth.Load()
	return word&1 == 1, word >> 1
}

// CheckPassword says whether a user has a password, and at which revision of users and roles: AUTH_DISABLED, AUTH_FAILED,
// NO_PASSWORD_USER. It takes a good part of a processor's time, on purpose; few are checked at a time, so that the rest of
// the node goes on.
func (s *Store) CheckPassword(ctx context.Context, user, password string) (revision uint64, err error) {
	view, err := s.View(ctx, Linearizable)
	if err != nil {
		return 0, err
	}
	defer view.Close()
	enabled, revision := view.Auth()
	known := view.User(user)
	if err := view.Err(); err != nil {
		return 0, err
	}
	switch {
	case !enabled:
		return 0, ErrAuthDisabled
	case known == nil:
		return 0, ErrAuthFailed
	case known.NoPassword:
		return 0, &Error{Code: CodeNoPasswordUser}
	}
	if err := s.hash(ctx, func() error { return bcrypt.CompareHashAndPassword(known.Password, []byte(password)) }); err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, ErrAuthFailed
	}
	return revision, nil
}

// HashPassword gives bcrypt's form of a password, for UserAdd and UserSetPassword. The cost is from 4 to 31, each step twice
// the time; passwords have 72 bytes at most.
func (s *Store) HashPassword(ctx context.Context, password string, cost int) ([]byte, error) {
	var hashed []byte
	err := s.hash(ctx, func() (err error) {
		hashed, err = bcrypt.GenerateFromPassword([]byte(password), cost)
		return err
	})
	return hashed, err
}

// hash runs something that takes long, a few at a time.
func (s *Store) hash(ctx context.Context, run func() error) error {
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.hashing }()
	return run()
}

// Login checks a password and gives a token, which every member knows: errors as of CheckPassword. When users or roles
// change while it does, it does so again.
func (s *Store) Login(ctx context.Context, user, password string) (token string, err error) {
	for {
		revision, err := s.CheckPassword(ctx, user, password)
		if err != nil {
			return "", err
		}
		result, err := s.Do(ctx, oneOp(&corepb.Op{Op: &corepb.Op_Login{Login: &corepb.Login{User: user, Prefix: tokenPrefix()}}}))
		if err != nil {
			return "", err
		}
		if result.Err != nil {
			return "", result.Err
		}
		if _, now := s.AuthEnabled(); now == revision {
			return string(result.Results[0].Key), nil
		}
	}
}

// tokenPrefix draws the part of a token that nobody can guess: 16 letters.
func tokenPrefix() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	prefix := make([]byte, 0, tokenPrefixLetter)
	for len(prefix) < tokenPrefixLetter {
		var drawn [tokenPrefixLetter]byte
		_, _ = rand.Read(drawn[:]) // which never fails
		for _, b := range drawn {
			// Numbers beyond a multiple of the letters would make the first ones likelier.
			if int(b) < 256/len(letters)*len(letters) && len(prefix) < tokenPrefixLetter {
				prefix = append(prefix, letters[int(b)%len(letters)])
			}
		}
	}
	return string(prefix)
}

// TokenUser says whose token it is, and puts off its end. It waits until this member has applied the login's entry, no
// longer than a request may take.
func (s *Store) TokenUser(ctx context.Context, token string) (user string, known bool) {
	if user, known = s.tokens.user(token); known {
		return user, true
	}
	_, number, found := strings.Cut(token, tokenSeparator)
	index, err := strconv.ParseUint(number, 10, 64)
	if !found || err != nil {
		return "", false
	}
	wait := s.patience(ctx)
	defer wait.release()
	if s.awaitApplied(wait, index) != nil {
		return "", false
	}
	return s.tokens.user(token)
}

// tokens are the logins that this member knows.
type tokens struct {
	ttlMillis int64
	now       func() int64 // Unix milliseconds

	mu      sync.Mutex // guards the fields below
	byToken map[string]*tokenHolder
	sweepAt int // tokens at which those that are over are looked for
}

type tokenHolder struct {
	user        string
	untilMillis int64
}

const tokensSweepMin = 1024

func newTokens(ttl time.Duration, now func() int64) *tokens {
	return &tokens{ttlMillis: ttl.Milliseconds(), now: now, byToken: map[string]*tokenHolder{}, sweepAt: tokensSweepMin}
}

// follow carries out what commands said of logins, in their order.
func (t *tokens) follow(changes []loginChange) {
	if len(changes) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.token != "":
			t.sweep()
			t.byToken[c.token] = &tokenHolder{user: c.user, untilMillis: t.now() + t.ttlMillis}
		case c.user != "":
			for token, holder := range t.byToken {
				if holder.user == c.user {
					delete(t.byToken, token)
				}
			}
		default:
			clear(t.byToken)
		}
	}
}

// sweep removes what is over once there are twice as many as were left the last time, so that its cost is a login's.
func (t *tokens) sweep() {
	if len(t.byToken) < t.sweepAt {
		return
	}
	now := t.now()
	for token, holder := range t.byToken {
		if holder.untilMillis < now {
			delete(t.byToken, token)
		}
	}
	t.sweepAt = max(tokensSweepMin, 2*len(t.byToken))
}

// user says whose a token is, and puts off its end.
func (t *tokens) user(token string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	holder := t.byToken[token]
	if holder == nil {
		return "", false
	}
	now := t.now()
	if holder.untilMillis < now {
		delete(t.byToken, token)
		return "", false
	}
	holder.untilMillis = now + t.ttlMillis
	return holder.user, true
}

// Caller names somebody who was recognised now, by a token or a certificate.
func (s *Store) Caller(user string) *corepb.Caller {
	_, revision := s.AuthEnabled()
	return &corepb.Caller{User: user, AuthRevision: revision}
}
