package grpcsvc

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/grpcsvc/h2"
)

// Who calls: recognised by a token or a client certificate, while authentication is on. What they may do is core's
// business, but for the calls that need the role root, or anybody, and touch no key.

// gatewayHeader is what the JSON gateway adds to the requests that it passes on. The certificate of such a connection is
// the gateway's own.
const gatewayHeader = "grpcgateway-accept"

// caller says on whose behalf a request is, nil for nobody. A token that is not known is an error.
func (s *Server) caller(ctx context.Context) (*corepb.Caller, error) {
	if enabled, _ := s.store.AuthEnabled(); !enabled {
		return nil, nil
	}
	for _, field := range [...]string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		given, ok := h2.Field(ctx, field)
		if !ok {
			continue
		}
		caller, known := s.opts.Tokens.recognise(ctx, s.store, strings.TrimPrefix(given, "Bearer "))
		if !known {
			return nil, rpctypes.ErrGRPCInvalidAuthToken
		}
		return caller, nil
	}
	if name := certificateName(ctx); s.opts.ClientCertAuth && name != "" {
		if _, passedOn := h2.Field(ctx, gatewayHeader); !passedOn {
			return s.store.Caller(name), nil
		}
	}
	return nil, nil
}

// certificateName is the common name of the certificate that a client has shown, when it was verified.
func certificateName(ctx context.Context) string {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ""
	}
	for _, chain := range info.State.VerifiedChains {
		if len(chain) > 0 {
			return chain[0].Subject.CommonName
		}
	}
	return ""
}

// permitSomebody refuses a request of nobody.
func (s *Server) permitSomebody(ctx context.Context) error {
	caller, err := s.caller(ctx)
	if err != nil {
		return err
	}
	if enabled, _ := s.store.AuthEnabled(); enabled && caller == nil {
		return rpctypes.ErrGRPCUserEmpty
	}
	return nil
}

// permitRoot refuses a request of anybody but those who have the role root. It looks at this member's state.
func (s *Server) permitRoot(ctx context.Context) error {
	if enabled, _ := s.store.AuthEnabled(); !enabled {
		return nil
	}
	view, err := s.viewAt(ctx, core.Local)
	if err != nil {
		return err
	}
	defer view.Close()
	return statusOf(view.PermitRoot())
}

// viewAt gives a state to read from, as the caller may see it. The caller is recognised after it, so that changes of users
// and roles until then are no reason to refuse the read.
func (s *Server) viewAt(ctx context.Context, level core.ReadLevel) (*core.View, error) {
	view, err := s.store.View(ctx, level)
	if err != nil {
		return nil, statusOf(err)
	}
	caller, err := s.caller(ctx)
	if err != nil {
		view.Close()
		return nil, err
	}
	view.As(caller)
	return view, nil
}
