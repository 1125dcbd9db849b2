package grpcsvc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// accepted are the credentials of connections whose handshake is done before they come here, if they are to have one: they
// only tell gRPC what was agreed on, so that a call knows its client's certificate.
type accepted struct {
	credentials.TransportCredentials
}

func acceptedCredentials() credentials.TransportCredentials {
	return accepted{insecure.NewCredentials()}
}

// ServerHandshake implements credentials.TransportCredentials.
func (a accepted) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return a.TransportCredentials.ServerHandshake(conn)
	}
	info := credentials.TLSInfo{State: secured.ConnectionState()}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

// ClientHandshake implements credentials.TransportCredentials. Nobody dials with these.
func (accepted) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Clone implements credentials.TransportCredentials.
func (a accepted) Clone() credentials.TransportCredentials { return a }
