package zkcompat

import (
	"errors"

	"github.com/triglot/triglot/core"
)

// code is the number that ZooKeeper's answers carry for success or an error.
type code int32

// The codes that Triglot answers.
const (
	codeOK                      code = 0
	codeSystemError             code = -1
	codeRuntimeInconsistency    code = -2 // in a failed multi: this item was not reached
	codeDataInconsistency       code = -3
	codeMarshallingError        code = -5
	codeUnimplemented           code = -6
	codeBadArguments            code = -8
	codeNoNode                  code = -101
	codeNoAuth                  code = -102
	codeBadVersion              code = -103
	codeNoChildrenForEphemerals code = -108
	codeNodeExists              code = -110
	codeNotEmpty                code = -111
	codeSessionExpired          code = -112
	codeInvalidACL              code = -114
	codeAuthFailed              code = -115
	codeSessionMoved            code = -118
	codeNoWatcher               code = -121
	codeReconfigDisabled        code = -123
	codeQuotaExceeded           code = -125
)

// codeOf turns an error that a command answered into ZooKeeper's code. Errors about a command's fate have none: the
// connection is closed, which is what ZooKeeper's clients know as "connection loss, outcome unknown".
func codeOf(err error) code {
	if err == nil {
		return codeOK
	}
	var e *core.Error
	if !errors.As(err, &e) {
		return codeSystemError
	}
	switch e.Code {
	case core.CodeNoNode, core.CodeKeyNotFound:
		return codeNoNode
	case core.CodeNodeExists, core.CodeWrongKind:
		return codeNodeExists
	case core.CodeNotEmpty:
		return codeNotEmpty
	case core.CodeBadVersion:
		return codeBadVersion
	case core.CodeNoChildrenForEphemerals:
		return codeNoChildrenForEphemerals
	case core.CodeSessionExpired, core.CodeLeaseNotFound:
		return codeSessionExpired
	case core.CodeSessionMoved:
		return codeSessionMoved
	case core.CodeCorrupt:
		return codeDataInconsistency
	case core.CodeUserEmpty, core.CodeUserNotFound, core.CodePermissionDenied, core.CodeAuthRevisionOld:
		return codeNoAuth
	case core.CodeNoSpace:
		return codeQuotaExceeded
	case core.CodeBadArguments, core.CodeTooLarge:
		return codeBadArguments
	default:
		return codeSystemError
	}
}
