package core

import "fmt"

// Code identifies what went wrong, whatever the words. Adapters translate codes into their protocol's errors.
type Code uint8

// The codes of errors that a command itself answers.
const (
	CodeWrongKind Code = iota + 1
	CodeKeyNotFound
	CodeNotInteger
	CodeHashNotInteger
	CodeNotFloat
	CodeHashNotFloat
	CodeOverflow
	CodeNotFinite
	CodeIndexOutOfRange
	CodeTooLarge
	CodeBadArguments
	CodeLeaseNotFound
	CodeLeaseExists
	CodeSessionExpired
	CodeSessionMoved
	CodeNoNode
	CodeNodeExists
	CodeNotEmpty
	CodeBadVersion
	CodeNoChildrenForEphemerals
	CodeCompacted
	CodeFutureRevision

	// The codes of commands about the cluster.
	CodeMemberExists
	CodePeerURLExists
	CodeMemberNotFound
	CodeMemberRemoved
	CodeMemberNotLearner
	CodeTooManyLearners
	CodeLearnerNotReady // its log is too far behind to be given a vote
	CodeLastVoter
	CodeUnhealthy // so few members can be reached that the change could cost the quorum
	CodeBadPeerURLs
	CodeBadTransferee // not a voter, or the leader already
	CodeTransferFailed
	CodeCorrupt // the alarm is raised
	CodeNoSpace // the alarm is raised

	// The codes of commands about users and roles, and of what a caller may not do.
	CodeUserEmpty        // nobody is named, or the caller is nobody
	CodeAuthRevisionOld  // users or roles have changed since the caller was recognised
	CodePermissionDenied // the caller's roles do not allow it
	CodeRootUserMissing
	CodeRootRoleMissing
	CodeUserExists
	CodeUserNotFound
	CodeRoleEmpty
	CodeRoleExists
	CodeRoleNotFound
	CodeRoleNotGranted
	CodePermissionNotGiven
	CodePermissionNotGranted
	CodeAuthManagement // it would lock everybody out, or the range is none
	CodeAuthDisabled
	CodeAuthFailed     // no such user, or another password
	CodeNoPasswordUser // a password was given for a user who has none

	// The codes of errors about a command's fate.
	CodeStopped     // the node is shutting down; the command was not accepted
	CodeUnknownFate // the command may or may not take effect
	CodeNoLeader    // nobody can order commands at present; the command was not accepted
	CodeOverloaded  // too much is waiting; the command was not accepted
)

var codeTexts = [...]string{
	CodeWrongKind:               "key holds a value of another kind",
	CodeKeyNotFound:             "key not found",
	CodeNotInteger:              "value is not an integer",
	CodeHashNotInteger:          "hash value is not an integer",
	CodeNotFloat:                "value is not a number",
	CodeHashNotFloat:            "hash value is not a number",
	CodeOverflow:                "integer overflow",
	CodeNotFinite:               "result is not a finite number",
	CodeIndexOutOfRange:         "index out of range",
	CodeTooLarge:                "too large",
	CodeBadArguments:            "bad arguments",
	CodeLeaseNotFound:           "lease not found",
	CodeLeaseExists:             "lease exists",
	CodeSessionExpired:          "session expired",
	CodeSessionMoved:            "session moved to another connection",
	CodeNoNode:                  "no such node",
	CodeNodeExists:              "node exists",
	CodeNotEmpty:                "node has children",
	CodeBadVersion:              "version differs",
	CodeNoChildrenForEphemerals: "ephemeral nodes have no children",
	CodeCompacted:               "revision has been compacted",
	CodeFutureRevision:          "revision is in the future",
	CodeMemberExists:            "member exists",
	CodePeerURLExists:           "peer URL exists",
	CodeMemberNotFound:          "member not found",
	CodeMemberRemoved:           "member was removed for good",
	CodeMemberNotLearner:        "member is no learner",
	CodeTooManyLearners:         "too many learners",
	CodeLearnerNotReady:         "learner is not in sync with the leader",
	CodeLastVoter:               "the last voter cannot be removed",
	CodeUnhealthy:               "too few members are reachable",
	CodeBadPeerURLs:             "peer URLs are not valid",
	CodeBadTransferee:           "leadership cannot go to this member",
	CodeTransferFailed:          "leadership was not transferred in time",
	CodeCorrupt:                 "replicas differ: the CORRUPT alarm is raised",
	CodeNoSpace:                 "out of space: the NOSPACE alarm is raised",
	CodeUserEmpty:               "no user name",
	CodeAuthRevisionOld:         "users or roles have changed meanwhile",
	CodePermissionDenied:        "permission denied",
	CodeRootUserMissing:         "there is no user root",
	CodeRootRoleMissing:         "the user root has not the role root",
	CodeUserExists:              "user exists",
	CodeUserNotFound:            "user not found",
	CodeRoleEmpty:               "no role name",
	CodeRoleExists:              "role exists",
	CodeRoleNotFound:            "role not found",
	CodeRoleNotGranted:          "the user has not the role",
	CodePermissionNotGiven:      "no permission given",
	CodePermissionNotGranted:    "the role has not the permission",
	CodeAuthManagement:          "users and roles cannot be changed in this way",
	CodeAuthDisabled:            "authentication is off",
	CodeAuthFailed:              "no such user, or another password",
	CodeNoPasswordUser:          "the user has no password",
	CodeStopped:                 "node is stopped",
	CodeUnknownFate:             "the command's outcome is unknown",
	CodeNoLeader:                "no leader",
	CodeOverloaded:              "too many commands are waiting",
}

// Error is an error of core. Two errors with one code are the same to errors.Is, whatever their details.
type Error struct {
	Code   Code
	Detail string // for people; may be empty
	Number int64  // CodeCompacted: the compacted revision; CodeTooLarge: the limit in bytes
}

// Error gives the code's text, followed by the detail.
func (e *Error) Error() string {
	if e.Detail == "" {
		return codeTexts[e.Code]
	}
	return fmt.Sprintf("%s: %s", codeTexts[e.Code], e.Detail)
}

// Is reports whether the target is an Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// The errors, for errors.Is and for answers that need no detail.
var (
	ErrWrongKind               = &Error{Code: CodeWrongKind}
	ErrKeyNotFound             = &Error{Code: CodeKeyNotFound}
	ErrNotInteger              = &Error{Code: CodeNotInteger}
	ErrHashNotInteger          = &Error{Code: CodeHashNotInteger}
	ErrNotFloat                = &Error{Code: CodeNotFloat}
	ErrHashNotFloat            = &Error{Code: CodeHashNotFloat}
	ErrOverflow                = &Error{Code: CodeOverflow}
	ErrNotFinite               = &Error{Code: CodeNotFinite}
	ErrIndexOutOfRange         = &Error{Code: CodeIndexOutOfRange}
	ErrTooLarge                = &Error{Code: CodeTooLarge}
	ErrBadArguments            = &Error{Code: CodeBadArguments}
	ErrLeaseNotFound           = &Error{Code: CodeLeaseNotFound}
	ErrLeaseExists             = &Error{Code: CodeLeaseExists}
	ErrSessionExpired          = &Error{Code: CodeSessionExpired}
	ErrSessionMoved            = &Error{Code: CodeSessionMoved}
	ErrNoNode                  = &Error{Code: CodeNoNode}
	ErrNodeExists              = &Error{Code: CodeNodeExists}
	ErrNotEmpty                = &Error{Code: CodeNotEmpty}
	ErrBadVersion              = &Error{Code: CodeBadVersion}
	ErrNoChildrenForEphemerals = &Error{Code: CodeNoChildrenForEphemerals}
	ErrCompacted               = &Error{Code: CodeCompacted}
	ErrFutureRevision          = &Error{Code: CodeFutureRevision}
	ErrNoSpace                 = &Error{Code: CodeNoSpace}
	ErrUserEmpty               = &Error{Code: CodeUserEmpty}
	ErrAuthRevisionOld         = &Error{Code: CodeAuthRevisionOld}
	ErrPermissionDenied        = &Error{Code: CodePermissionDenied}
	ErrUserNotFound            = &Error{Code: CodeUserNotFound}
	ErrAuthDisabled            = &Error{Code: CodeAuthDisabled}
	ErrAuthFailed              = &Error{Code: CodeAuthFailed}
	ErrStopped                 = &Error{Code: CodeStopped}
	ErrUnknownFate             = &Error{Code: CodeUnknownFate}
	ErrNoLeader                = &Error{Code: CodeNoLeader}
	ErrOverloaded              = &Error{Code: CodeOverloaded}
)
