package resp

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/triglot/triglot/core"
)

// Redis' words for what a request itself can get wrong.
const (
	errSyntax      = "ERR syntax error"
	errNotInteger  = "ERR value is not an integer or out of range"
	errNotFloat    = "ERR value is not a valid float"
	errNoSuchKey   = "ERR no such key"
	errSameObject  = "ERR source and destination objects are the same"
	errDBRange     = "ERR DB index is out of range"
	errCursor      = "ERR invalid cursor"
	errWrongType   = "WRONGTYPE Operation against a key holding the wrong kind of value"
	errNotPositive = "ERR value is out of range, must be positive"
	// errNotNegatable is for the one number without a positive counterpart.
	errNotNegatable = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
	errStringSize   = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

func errArity(name string) string { return "ERR wrong number of arguments for '" + name + "' command" }

func errExpire(name string) string { return "ERR invalid expire time in '" + name + "' command" }

func errSubcommand(container string, sub []byte) string {
	return fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", cString(sub), container)
}

func errUnknownCommand(args [][]byte) string {
	var shown []byte
	for _, a := range args[1:] {
		if len(shown) >= 128 {
			break
		}
		a = cString(a)
		if room := 128 - len(shown); len(a) > room {
			a = a[:room]
		}
		shown = append(append(append(shown, '\''), a...), "' "...)
	}
	return fmt.Sprintf("ERR unknown command '%.128s', with args beginning with: %s", cString(args[0]), shown)
}

// cString cuts a word where C would: Redis' errors show it up to the first NUL.
func cString(word []byte) []byte {
	if nul := bytes.IndexByte(word, 0); nul >= 0 {
		return word[:nul]
	}
	return word
}

// errorText puts an error of core into Redis' words.
//
// A command that was not accepted is answered with CLUSTERDOWN when nobody can order commands, and with TRYAGAIN when that
// passes sooner. Client libraries know both, as errors that say that nothing was executed, and some repeat the command by
// themselves. One whose fate is unknown must not be repeated: it is a plain error that says so. MISCONF is how Redis
// refuses when an operator has to look.
func errorText(err error) string {
	var e *core.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return "ERR outcome unknown: the command may or may not take effect"
		}
		return "ERR " + err.Error()
	}
	switch e.Code {
	case core.CodeWrongKind:
		return errWrongType
	case core.CodeKeyNotFound:
		return errNoSuchKey
	case core.CodeNotInteger:
		return errNotInteger
	case core.CodeHashNotInteger:
		return "ERR hash value is not an integer"
	case core.CodeNotFloat:
		return errNotFloat
	case core.CodeHashNotFloat:
		return "ERR hash value is not a float"
	case core.CodeOverflow:
		return "ERR increment or decrement would overflow"
	case core.CodeNotFinite:
		return "ERR increment would produce NaN or Infinity"
	case core.CodeIndexOutOfRange:
		return "ERR index out of range"
	case core.CodeTooLarge:
		if e.Number > 0 {
			return fmt.Sprintf("ERR string exceeds maximum allowed size of %d bytes (--max-request-bytes)", e.Number)
		}
		return "ERR request exceeds the maximum allowed size"
	case core.CodeStopped:
		return "TRYAGAIN the server is shutting down; the command was not executed"
	case core.CodeNoLeader:
		return "CLUSTERDOWN the cluster has no leader; the command was not executed"
	case core.CodeOverloaded:
		return "TRYAGAIN too many commands are waiting; the command was not executed"
	case core.CodeCorrupt:
		return "MISCONF replicas of the cluster differ: the CORRUPT alarm is raised; the command was not executed"
	case core.CodeNoSpace:
		return "OOM command not allowed when used memory > 'maxmemory'."
	case core.CodeUserEmpty:
		return errNoAuth
	case core.CodePermissionDenied, core.CodeUserNotFound, core.CodeAuthRevisionOld:
		return errNoPermKey
	case core.CodeAuthFailed, core.CodeNoPasswordUser:
		return errWrongPass
	case core.CodeUnknownFate:
		return "ERR outcome unknown: the command may or may not take effect"
	}
	return "ERR " + e.Error()
}
