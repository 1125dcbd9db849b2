package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Clients for histories. They try nothing twice, and say of each request whether it was answered, certainly not carried
// out, or neither. That is more than most libraries tell, and a wrong answer here would hide what is looked for: a write
// that is taken for refused though it was carried out looks like a value from nowhere.

// opPatience is how long a client waits for an answer before it takes the fate of its request for unknown.
const opPatience = 4 * time.Second

// keyClient carries out operations on keys through one protocol, at one place of a cluster.
type keyClient interface {
	// do answers what an operation showed; the output is of no use unless the fate is done.
	do(key string, in keyInput) (keyOutput, fate, error)
	deeds() []deed
	close()
}

// notDialled says that a request never left, since there was no connection.
func notDialled(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// etcdFate judges an error of an etcd request that changes something.
func etcdFate(err error) fate {
	s, _ := status.FromError(err)
	text := s.Message()
	for _, words := range []string{
		"etcdserver: server stopped", "etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable",
		"Error while dialing", "etcdserver: mvcc: database space exceeded",
	} {
		if strings.Contains(text, words) {
			return refused
		}
	}
	return unknown
}

// etcdExpected says whether an error is one of a cluster in trouble, and not one of a wrong request.
func etcdExpected(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return true
	}
	return false
}

// redisFate judges an error of a Redis command that changes something.
func redisFate(err error) fate {
	var words redis.Error
	switch {
	case notDialled(err):
		return refused
	case errors.As(err, &words) && (strings.HasPrefix(words.Error(), "TRYAGAIN") || strings.HasPrefix(words.Error(), "CLUSTERDOWN")):
		return refused
	}
	return unknown
}

func redisExpected(err error) bool {
	var words redis.Error
	if errors.As(err, &words) {
		text := words.Error()
		return redisFate(err) == refused || strings.HasPrefix(text, "ERR outcome unknown")
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// unclear is a fate and output for an operation that failed: reads are of no use then.
func unclear(in keyInput, f fate) (keyOutput, fate) {
	if in.deed == doRead {
		f = refused
	}
	return keyOutput{unknown: true}, f
}
