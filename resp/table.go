package resp

import (
	"strings"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// command is a row of the command table. Everything that is known about a command is in its row: what clients are told
// by COMMAND, how a request is checked, and what it does.
//
// Exactly one of plan, run and subs says what it does; read and block add to plan.
type command struct {
	name    string
	arity   int // words including the name; negative: at least so many
	flags   flag
	keys    keySpec
	since   string
	group   string
	args    string // syntax after the name, in the notation of syntax.go
	summary string

	// plan translates a request into core ops. It serves the command alone, in a pipeline and in MULTI alike.
	plan func(*request) plan
	// read answers a request from a view, with less work than its plan. For commands that only read.
	read func(*request, *core.View, *writer)
	// block says how the command waits when there is nothing to take.
	block func(*request) (blocking, string)
	// run answers what is about the connection or the server and not about keys.
	run func(*conn, *request)
	// subs are the rows of a container command.
	subs []*command

	// Set by index.
	fullName  string              // "client|list"
	container *command            // that the row belongs to, nil for none
	byName    map[string]*command // finds subs
}

// flag is a property of a command that COMMAND reports, or that the connection acts on.
type flag uint32

const (
	flagWrite flag = 1 << iota
	flagReadonly
	flagDenyOOM
	flagAdmin
	flagPubsub
	flagNoscript
	flagBlocking
	flagLoading
	flagStale
	flagSkipSlowlog
	flagFast
	flagNoAuth
	flagMovableKeys
	flagAllowBusy

	// The following are not reported.
	flagInMulti    // runs at once even after MULTI
	flagSubscribed // allowed in RESP2 once subscribed
	flagDangerous  // category
	flagKeyspace   // category
	flagConnection // category
	flagAdminOnly  // category @admin, with @dangerous, without the flag
)

var flagNames = []struct {
	flag flag
	name string
}{
	{flagWrite, "write"}, {flagReadonly, "readonly"}, {flagDenyOOM, "denyoom"}, {flagAdmin, "admin"},
	{flagPubsub, "pubsub"}, {flagNoscript, "noscript"}, {flagBlocking, "blocking"}, {flagLoading, "loading"},
	{flagStale, "stale"}, {flagSkipSlowlog, "skip_slowlog"}, {flagFast, "fast"}, {flagNoAuth, "no_auth"},
	{flagMovableKeys, "movablekeys"}, {flagAllowBusy, "allow_busy"},
}

// Combinations that many rows share.
const (
	writes     = flagWrite | flagDenyOOM
	writesFast = flagWrite | flagDenyOOM | flagFast
	readsFast  = flagReadonly | flagFast
	always     = flagLoading | flagStale
	session    = flagNoscript | flagLoading | flagStale
)

// keySpec says where the keys of a request are: every step-th word from first to last, where a negative last counts
// from the end. With count set, that word holds the number of keys, which follow it.
type keySpec struct{ first, last, step, count int }

var (
	noKeys  = keySpec{}
	oneKey  = keySpec{first: 1, last: 1, step: 1}
	twoKeys = keySpec{first: 1, last: 2, step: 1}
	allKeys = keySpec{first: 1, last: -1, step: 1}
)

// positions lists the words of a request that are keys; ok is false when the request is wrong.
func (k keySpec) positions(args [][]byte) (at []int, ok bool) {
	switch {
	case k.count > 0:
		if k.count >= len(args) {
			return nil, false
		}
		n, ok := parseInt(args[k.count])
		if !ok || n < 1 || n > int64(len(args)-k.count-1) {
			return nil, false
		}
		for i := range int(n) {
			at = append(at, k.count+1+i)
		}
	case k.first > 0:
		last := k.last
		if last < 0 {
			last += len(args)
		}
		for i := k.first; i <= last && i < len(args); i += k.step {
			at = append(at, i)
		}
	}
	return at, true
}

// request is one call of a command.
type request struct {
	cmd    *command
	args   [][]byte // with the name first; parts of the connection's buffer, or copies within MULTI
	db     uint32
	opts   *Options
	queued bool // by MULTI: nothing may be waited for
}

// plan is what a request asks of core, and how the results become a reply.
type plan struct {
	ops []*corepb.Op
	// one formats the result of a plan with one op, format those of any other.
	one    func(*writer, *core.Result)
	format func(*writer, []core.Result)
	// err is the reply, whatever the results, unless an op failed. Ops in front of it are checks that come first.
	err string
	// absent, when set, is the reply to an op that found no key, in place of "no such key".
	absent func(*writer)
}

func single(op *corepb.Op, one func(*writer, *core.Result)) plan {
	return plan{ops: []*corepb.Op{op}, one: one}
}

func refuse(text string) plan { return plan{err: text} }

// refuseAfter refuses a request, but only when an op that comes first has nothing to object.
func refuseAfter(check *corepb.Op, text string) plan {
	return plan{ops: []*corepb.Op{check}, err: text}
}

// reply writes the reply to a request from the results of its plan's ops.
func (p *plan) reply(w *writer, results []core.Result) {
	for i := range results {
		if err := results[i].Err; err != nil {
			if e, ok := err.(*core.Error); ok && e.Code == core.CodeKeyNotFound && p.absent != nil {
				p.absent(w)
			} else {
				w.fail(err)
			}
			return
		}
	}
	switch {
	case p.err != "":
		w.err(p.err)
	case p.one != nil:
		p.one(w, &results[0])
	default:
		p.format(w, results)
	}
}

// changes reports whether a plan has to go through the log.
func (p *plan) changes() bool {
	for _, op := range p.ops {
		switch op.Op.(type) {
		case *corepb.Op_Get, *corepb.Op_Scan, *corepb.Op_RandomKey, *corepb.Op_HashGet, *corepb.Op_HashRange,
			*corepb.Op_ListRange, *corepb.Op_Count:
		default:
			return true
		}
	}
	return false
}

// cheapOpsMax is how many keys a read may look at and still be small.
const cheapOpsMax = 16

// cheap reports whether a plan that only reads is so small that it may be carried out in the log.
func (p *plan) cheap() bool {
	if len(p.ops) > cheapOpsMax {
		return false
	}
	for _, op := range p.ops {
		switch op := op.Op.(type) {
		case *corepb.Op_Get, *corepb.Op_Count:
		case *corepb.Op_HashGet:
			if len(op.HashGet.Fields) > cheapOpsMax {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// arityOK reports whether a request has an acceptable number of words.
func (c *command) arityOK(words int) bool {
	if c.arity < 0 {
		return words >= -c.arity
	}
	return words == c.arity
}

// commands is the table; commandsByName finds its rows. They are made by init, and not where they are declared, because
// rows such as COMMAND's refer to the table that they are in.
var (
	commands       []*command
	commandsByName map[string]*command
)

func init() {
	commands, commandsByName = index(
		stringCommands, counterCommands, keyCommands, expireCommands, scanCommands, objectCommands, hashCommands,
		listCommands, blockingCommands, txnCommands, pubsubCommands, sessionCommands, clientCommands, serverCommands,
		replicationCommands, commandCommands,
	)
}

func index(groups ...[]*command) (all []*command, byName map[string]*command) {
	byName = map[string]*command{}
	for _, group := range groups {
		for _, c := range group {
			c.fullName = c.name
			byName[c.name] = c
			all = append(all, c)
			if len(c.subs) == 0 {
				continue
			}
			c.byName = map[string]*command{}
			for _, sub := range c.subs {
				sub.fullName = c.name + "|" + sub.name
				sub.container = c
				if sub.group == "" {
					sub.group = c.group
				}
				c.byName[sub.name] = sub
			}
		}
	}
	return all, byName
}

// nameBytesMax is longer than every command's name.
const nameBytesMax = 32

func lookup(rows map[string]*command, name []byte) *command {
	if len(name) > nameBytesMax {
		return nil
	}
	var lower [nameBytesMax]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return rows[string(lower[:len(name)])]
}

// resolve finds the row that a request is for, and what is wrong with it when there is none.
func resolve(args [][]byte) (c *command, errText string) {
	c = lookup(commandsByName, args[0])
	if c == nil {
		return nil, errUnknownCommand(args)
	}
	if c.byName != nil && len(args) > 1 {
		sub := lookup(c.byName, args[1])
		if sub == nil {
			return nil, errSubcommand(strings.ToUpper(c.name), args[1])
		}
		c = sub
	}
	if !c.arityOK(len(args)) {
		return nil, errArity(c.fullName)
	}
	return c, ""
}

// is reports whether a word of a request is an option, whatever its case. option is upper-case ASCII.
func is(word []byte, option string) bool {
	if len(word) != len(option) {
		return false
	}
	for i := range len(option) {
		c := word[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != option[i] {
			return false
		}
	}
	return true
}
