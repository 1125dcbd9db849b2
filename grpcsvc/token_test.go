package grpcsvc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// writeKeys writes a key pair as PEM files, and gives their options of --auth-token.
func writeKeys(t *testing.T, private, public any) (privOption, pubOption string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	privOption = "priv-key=" + write("private", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(public)
	pubOption = "pub-key=" + write("public", "PUBLIC KEY", der, err)
	return privOption, pubOption
}

type keyOptions struct{ private, public string }

func keysFor(t *testing.T) map[string]keyOptions {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]keyOptions{}
	keep := func(method string, private, public any) {
		priv, pub := writeKeys(t, private, public)
		keys[method] = keyOptions{priv, pub}
	}
	keep("RS256", rsaKey, &rsaKey.PublicKey)
	keep("PS256", rsaKey, &rsaKey.PublicKey)
	keep("ES256", ecKey, &ecKey.PublicKey)
	keep("EdDSA", edKey, edPublic)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys["HS256"] = keyOptions{private: "priv-key=" + secret}
	return keys
}

func parseTokens(t *testing.T, text string) Tokens {
	t.Helper()
	tokens, _, err := ParseTokens(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tokens
}

// withRoot turns authentication on, with a user root.
func (n *node) withRoot() pb.AuthClient {
	n.t.Helper()
	auth := pb.NewAuthClient(n.conn)
	_, err := auth.UserAdd(n.ctx, &pb.AuthUserAddRequest{Name: "root", Password: "pw"})
	if err == nil {
		_, err = auth.UserGrantRole(n.ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
	}
	if err == nil {
		_, err = auth.AuthEnable(n.ctx, &pb.AuthEnableRequest{})
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return auth
}

// as makes requests carry a token.
func (n *node) as(token string) context.Context {
	return metadata.AppendToOutgoingContext(n.ctx, rpctypes.TokenFieldNameGRPC, token)
}

func TestSignedTokensOfEveryMethodAreRecognisedAndEndWithChangesOfUsers(t *testing.T) {
	for method, keys := range keysFor(t) {
		t.Run(method, func(t *testing.T) {
			tokens := parseTokens(t, "jwt,sign-method="+method+","+keys.private)
			n := startNode(t, Options{Tokens: tokens, BcryptCost: 4})
			auth := n.withRoot()
			login, err := auth.Authenticate(n.ctx, &pb.AuthenticateRequest{Name: "root", Password: "pw"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.kv.Put(n.as(login.Token), &pb.PutRequest{Key: []byte("k")}); err != nil {
				t.Error(err)
			}
			if _, err := n.kv.Put(n.as(login.Token+"x"), &pb.PutRequest{Key: []byte("k")}); err == nil {
				t.Error("a token with another signature is taken")
			}
			if keys.public != "" {
				verifier := parseTokens(t, "jwt,sign-method="+method+","+keys.public)
				if caller, known := verifier.recognise(n.ctx, n.store, login.Token); !known || caller.User != "root" {
					t.Errorf("with the public key alone it is of %v, %v", caller, known)
				}
				if _, err := verifier.give(n.ctx, n.store, "root", "pw"); err != errVerifyOnly {
					t.Errorf("making one with the public key alone: %v", err)
				}
			}
			if _, err := auth.RoleAdd(n.as(login.Token), &pb.AuthRoleAddRequest{Name: "r"}); err != nil {
				t.Fatal(err)
			}
			_, err = n.kv.Put(n.as(login.Token), &pb.PutRequest{Key: []byte("k")})
			wantStatus(t, "a put with the token from before", err, rpctypes.ErrGRPCAuthOldRevision)
		})
	}
}

func TestSignedTokensOfAnotherKindAreNotRecognised(t *testing.T) {
	keys := keysFor(t)
	tokens := parseTokens(t, "jwt,sign-method=HS256,"+keys["HS256"].private).(*signedTokens)
	sign := func(method jwt.SigningMethod, claims jwt.MapClaims, key any) string {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	later, before := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	good := jwt.MapClaims{"username": "root", "revision": 3, "exp": later}
	for name, token := range map[string]string{
		"nothing":            "",
		"no token":           "x.y.z",
		"one without method": sign(jwt.SigningMethodNone, good, jwt.UnsafeAllowNoneSignatureType),
		"another method":     sign(jwt.SigningMethodHS512, good, tokens.sign),
		"another key":        sign(jwt.SigningMethodHS256, good, []byte("other")),
		"over":               sign(jwt.SigningMethodHS256, jwt.MapClaims{"username": "root", "revision": 3, "exp": before}, tokens.sign),
		"no name":            sign(jwt.SigningMethodHS256, jwt.MapClaims{"revision": 3, "exp": later}, tokens.sign),
		"no revision":        sign(jwt.SigningMethodHS256, jwt.MapClaims{"username": "root", "exp": later}, tokens.sign),
	} {
		if caller, known := tokens.recognise(t.Context(), nil, token); known {
			t.Errorf("%s: recognised as %v", name, caller)
		}
	}
	if caller, known := tokens.recognise(t.Context(), nil, sign(jwt.SigningMethodHS256, good, tokens.sign)); !known || caller.User != "root" || caller.AuthRevision != 3 {
		t.Errorf("the good one: %v, %v", caller, known)
	}
}

func TestTokenOptionsThatCannotBeAreNamed(t *testing.T) {
	keys := keysFor(t)
	for text, want := range map[string]string{
		"":                      "no kind of token",
		"jet":                   "no kind of token",
		"jwt":                   "sign-method",
		"jwt,sign-method=none":  "sign-method",
		"jwt,sign-method=RS256": "key is missing",
		"jwt,sign-method=HS256": "key is missing",
		"jwt,sign-method=RS256,priv-key=/nowhere":                 "priv-key",
		"jwt,sign-method=RS256," + keys["ES256"].private:          "priv-key",
		"jwt,sign-method=ES256," + keys["RS256"].public:           "pub-key",
		"jwt,sign-method=HS256,ttl=soon," + keys["HS256"].private: "ttl",
		"jwt,sign-method":   "name=value",
		"jwt,ttl=1s,ttl=2s": "given twice",
		"jwt,sign-method=RS256," + keys["RS256"].private + "," + keys["PS256"].public:       "",
		"jwt,sign-method=ES256," + keys["ES256"].private + "," + keysFor(t)["ES256"].public: "no pair",
	} {
		_, _, err := ParseTokens(text)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; it should say %q", text, err, want)
		}
	}
	if _, unknown, err := ParseTokens("jwt,sign-method=HS256,colour=red," + keys["HS256"].private); err != nil || len(unknown) != 1 {
		t.Errorf("an unknown option: %v, %v", unknown, err)
	}
}

// A verified certificate names a user where that is asked for, but not to the JSON gateway, whose own it is.
func TestACertificateNamesItsUser(t *testing.T) {
	n := startNode(t, Options{BcryptCost: 4, ClientCertAuth: true})
	n.withRoot()
	chain := []*x509.Certificate{{Subject: pkix.Name{CommonName: "root"}}}
	verified := credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chain}}}
	shown := credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain}}
	for _, test := range []struct {
		name   string
		info   credentials.AuthInfo
		header string
		want   string
	}{
		{"verified", verified, "", "root"},
		{"shown and not verified", shown, "", ""},
		{"through the gateway", verified, gatewayHeader, ""},
		{"none", nil, "", ""},
	} {
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: test.info})
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(test.header+"x", "x"))
		if test.header != "" {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(test.header, "x"))
		}
		caller, err := n.server.caller(ctx)
		if err != nil || caller.GetUser() != test.want {
			t.Errorf("%s: %v, %v", test.name, caller, err)
		}
	}
	n.server.opts.ClientCertAuth = false
	ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: verified})
	if caller, err := n.server.caller(ctx); caller != nil || err != nil {
		t.Errorf("where certificates name nobody: %v, %v", caller, err)
	}
}
