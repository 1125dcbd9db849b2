package grpcsvc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Tokens are what clients show after they have logged in: simple ones, which the members keep, or signed ones, which stand
// by themselves.
type Tokens interface {
	// give checks a password and makes a token.
	give(ctx context.Context, store *core.Store, user, password string) (string, error)
	// recognise says whose a token is.
	recognise(ctx context.Context, store *core.Store, token string) (*corepb.Caller, bool)
}

// simpleTokens are kept in the memory of every member, and end when they were not used for a while.
type simpleTokens struct{}

func (simpleTokens) give(ctx context.Context, store *core.Store, user, password string) (string, error) {
	return store.Login(ctx, user, password)
}

func (simpleTokens) recognise(ctx context.Context, store *core.Store, token string) (*corepb.Caller, bool) {
	user, known := store.TokenUser(ctx, token)
	return store.Caller(user), known
}

// signedTokens are JSON Web Tokens: they say who logged in, at which revision of users and roles, and until when they
// hold. Members agree on them by having the same keys.
type signedTokens struct {
	method jwt.SigningMethod
	sign   any // nil: tokens can be checked and not made
	verify any
	ttl    time.Duration
}

// errVerifyOnly has etcd's words.
var errVerifyOnly = status.Error(codes.Unknown, "auth: token signing attempted with verify-only key")

// The names of a token's claims, as etcd has them.
const (
	claimUser     = "username"
	claimRevision = "revision"
	claimExpiry   = "exp"
)

func (t *signedTokens) give(ctx context.Context, store *core.Store, user, password string) (string, error) {
	revision, err := store.CheckPassword(ctx, user, password)
	switch {
	case err != nil:
		return "", err
	case t.sign == nil:
		return "", errVerifyOnly
	}
	return jwt.NewWithClaims(t.method, jwt.MapClaims{
		claimUser: user, claimRevision: revision, claimExpiry: time.Now().Add(t.ttl).Unix(),
	}).SignedString(t.sign)
}

func (t *signedTokens) recognise(_ context.Context, _ *core.Store, token string) (*corepb.Caller, bool) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return t.verify, nil },
		jwt.WithValidMethods([]string{t.method.Alg()}))
	user, named := claims[claimUser].(string)
	revision, dated := claims[claimRevision].(float64)
	if err != nil || !named || !dated {
		return nil, false
	}
	return &corepb.Caller{User: user, AuthRevision: uint64(revision)}, true
}

const signedTTLDefault = 5 * time.Minute

// ParseTokens reads etcd's --auth-token: "simple", or "jwt" with its options, such as
// "jwt,pub-key=public.pem,priv-key=private.pem,sign-method=RS256,ttl=5m". The keys are read from their files. Options that
// jwt does not have are told, as etcd passes them by.
func ParseTokens(text string) (tokens Tokens, unknown []string, err error) {
	kind, rest, _ := strings.Cut(text, ",")
	options := map[string]string{}
	for _, option := range strings.Split(rest, ",") {
		if rest == "" {
			break
		}
		name, value, ok := strings.Cut(option, "=")
		if _, twice := options[name]; !ok || twice || strings.Contains(value, "=") {
			return nil, nil, fmt.Errorf("%q is not name=value, or given twice", option)
		}
		options[name] = value
	}
	switch kind {
	case "simple":
		return simpleTokens{}, nil, nil
	case "jwt":
		return parseSigned(options)
	}
	return nil, nil, fmt.Errorf("%q is no kind of token: there are simple and jwt", kind)
}

func parseSigned(options map[string]string) (tokens *signedTokens, unknown []string, err error) {
	t := &signedTokens{ttl: signedTTLDefault}
	var public, private []byte
	for name, value := range options {
		switch {
		case value == "" && name != "sign-method":
		case name == "sign-method":
			t.method = jwt.GetSigningMethod(value)
		case name == "ttl":
			t.ttl, err = time.ParseDuration(value)
		case name == "pub-key":
			public, err = os.ReadFile(value)
		case name == "priv-key":
			private, err = os.ReadFile(value)
		default:
			unknown = append(unknown, name)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.Sort(unknown)
	if t.method == nil || t.method == jwt.SigningMethodNone {
		return nil, nil, fmt.Errorf("sign-method %q is none of RS, PS, ES, HS with 256, 384 or 512, or EdDSA", options["sign-method"])
	}
	return t, unknown, t.readKeys(public, private)
}

// readKeys takes the keys that the method needs: a secret, or a pair of which the private one may be missing.
func (t *signedTokens) readKeys(public, private []byte) error {
	switch t.method.(type) {
	case *jwt.SigningMethodHMAC:
		if len(private) == 0 {
			return errMissingKey
		}
		t.sign, t.verify = private, private
		return nil
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return keyPair[*rsa.PrivateKey, *rsa.PublicKey](t, private, public, jwt.ParseRSAPrivateKeyFromPEM, jwt.ParseRSAPublicKeyFromPEM)
	case *jwt.SigningMethodECDSA:
		return keyPair[*ecdsa.PrivateKey, *ecdsa.PublicKey](t, private, public, jwt.ParseECPrivateKeyFromPEM, jwt.ParseECPublicKeyFromPEM)
	default:
		return keyPair[crypto.PrivateKey, crypto.PublicKey](t, private, public, jwt.ParseEdPrivateKeyFromPEM, jwt.ParseEdPublicKeyFromPEM)
	}
}

var (
	errMissingKey  = errors.New("the key is missing: give pub-key, priv-key or both, and priv-key for HS256 to HS512")
	errKeyMismatch = errors.New("pub-key and priv-key are no pair")
)

func keyPair[Private, Public any](t *signedTokens, private, public []byte,
	parsePrivate func([]byte) (Private, error), parsePublic func([]byte) (Public, error),
) error {
	if len(public) > 0 {
		key, err := parsePublic(public)
		if err != nil {
			return fmt.Errorf("pub-key: %w", err)
		}
		t.verify = key
	}
	if len(private) > 0 {
		key, err := parsePrivate(private)
		if err != nil {
			return fmt.Errorf("priv-key: %w", err)
		}
		own := any(key).(crypto.Signer).Public() // every private key of the standard library is one
		if given, ok := t.verify.(interface{ Equal(crypto.PublicKey) bool }); ok && !given.Equal(own) {
			return errKeyMismatch
		}
		t.sign, t.verify = key, own
	}
	if t.verify == nil {
		return errMissingKey
	}
	return nil
}
