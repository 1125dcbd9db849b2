package grpcsvc

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
)

// errCollection answers a put on a key that holds a list, hash, set, sorted set or stream. etcd has no such thing, so
// the words are ours; the code says that trying again does not help.
var errCollection = status.Error(codes.FailedPrecondition,
	"etcdserver: key holds a collection (list, hash, set, sorted set or stream) written through the Redis API; "+
		"a put does not replace it and a delete passes it by: remove it through the Redis API first")

// statusByCode is the meaning of core's errors to etcd clients, who tell errors apart by their exact text.
var statusByCode = map[core.Code]error{
	core.CodeWrongKind:      errCollection,
	core.CodeKeyNotFound:    rpctypes.ErrGRPCKeyNotFound,
	core.CodeTooLarge:       rpctypes.ErrGRPCRequestTooLarge,
	core.CodeLeaseNotFound:  rpctypes.ErrGRPCLeaseNotFound,
	core.CodeLeaseExists:    rpctypes.ErrGRPCLeaseExist,
	core.CodeCompacted:      rpctypes.ErrGRPCCompacted,
	core.CodeFutureRevision: rpctypes.ErrGRPCFutureRev,
	core.CodeStopped:        rpctypes.ErrGRPCStopped,
	core.CodeUnknownFate:    rpctypes.ErrGRPCTimeout,
	core.CodeNoLeader:       rpctypes.ErrGRPCNoLeader,
	core.CodeOverloaded:     rpctypes.ErrGRPCRequestTooManyRequests,

	core.CodeMemberExists:     rpctypes.ErrGRPCMemberExist,
	core.CodePeerURLExists:    rpctypes.ErrGRPCPeerURLExist,
	core.CodeMemberNotFound:   rpctypes.ErrGRPCMemberNotFound,
	core.CodeMemberRemoved:    rpctypes.ErrGRPCMemberNotFound,
	core.CodeMemberNotLearner: rpctypes.ErrGRPCMemberNotLearner,
	core.CodeTooManyLearners:  rpctypes.ErrGRPCTooManyLearners,
	core.CodeLearnerNotReady:  rpctypes.ErrGRPCLearnerNotReady,
	core.CodeLastVoter:        rpctypes.ErrGRPCMemberNotEnoughStarted,
	core.CodeUnhealthy:        rpctypes.ErrGRPCUnhealthy,
	core.CodeBadPeerURLs:      rpctypes.ErrGRPCMemberBadURLs,
	core.CodeBadTransferee:    rpctypes.ErrGRPCBadLeaderTransferee,
	core.CodeTransferFailed:   errTransferFailed,
	core.CodeCorrupt:          rpctypes.ErrGRPCCorrupt,

	core.CodeNoSpace: rpctypes.ErrGRPCNoSpace,

	core.CodeUserEmpty:            rpctypes.ErrGRPCUserEmpty,
	core.CodeAuthRevisionOld:      rpctypes.ErrGRPCAuthOldRevision,
	core.CodePermissionDenied:     rpctypes.ErrGRPCPermissionDenied,
	core.CodeRootUserMissing:      rpctypes.ErrGRPCRootUserNotExist,
	core.CodeRootRoleMissing:      rpctypes.ErrGRPCRootRoleNotExist,
	core.CodeUserExists:           rpctypes.ErrGRPCUserAlreadyExist,
	core.CodeUserNotFound:         rpctypes.ErrGRPCUserNotFound,
	core.CodeRoleEmpty:            rpctypes.ErrGRPCRoleEmpty,
	core.CodeRoleExists:           rpctypes.ErrGRPCRoleAlreadyExist,
	core.CodeRoleNotFound:         rpctypes.ErrGRPCRoleNotFound,
	core.CodeRoleNotGranted:       rpctypes.ErrGRPCRoleNotGranted,
	core.CodePermissionNotGiven:   rpctypes.ErrGRPCPermissionNotGiven,
	core.CodePermissionNotGranted: rpctypes.ErrGRPCPermissionNotGranted,
	core.CodeAuthManagement:       rpctypes.ErrGRPCInvalidAuthMgmt,
	core.CodeAuthDisabled:         rpctypes.ErrGRPCAuthNotEnabled,
	core.CodeAuthFailed:           rpctypes.ErrGRPCAuthFailed,
	core.CodeNoPasswordUser:       errNoPassword,
}

// errTransferFailed has etcd's words for a leader that was not moved in time, and the code that those come with.
var errTransferFailed = status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")

// statusOf turns any error into what goes over the wire.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	var e *core.Error
	if errors.As(err, &e) {
		if known, ok := statusByCode[e.Code]; ok {
			return known
		}
		return status.Error(codes.Unknown, "etcdserver: "+e.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return status.FromContextError(context.Canceled).Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	return status.Error(codes.Unknown, "etcdserver: "+err.Error())
}

// statusIn is statusOf for an error of something that waited with a context, where the context may say better why.
func statusIn(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return statusOf(context.Cause(ctx))
	}
	return statusOf(err)
}
