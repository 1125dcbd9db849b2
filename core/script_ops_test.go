package core

import (
	"strconv"
	"strings"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// args are the words after an op's name: arguments in order, and options (--name or --name=value) in any.
type args struct {
	words   []string
	options map[string]string
}

func arguments(words []string) *args {
	a := &args{options: map[string]string{}}
	for _, word := range words {
		if option, ok := strings.CutPrefix(word, "--"); ok {
			name, value, _ := strings.Cut(option, "=")
			a.options[name] = value
			continue
		}
		if strings.HasPrefix(word, `"`) {
			unquoted, err := strconv.Unquote(word)
			if err != nil {
				panic(word)
			}
			word = unquoted
		}
		a.words = append(a.words, word)
	}
	return a
}

func (a *args) used() bool { return len(a.words) == 0 && len(a.options) == 0 }

func (a *args) next() string {
	if len(a.words) == 0 {
		panic("an argument is missing")
	}
	word := a.words[0]
	a.words = a.words[1:]
	return word
}

func (a *args) maybe() []byte {
	if len(a.words) == 0 {
		return nil
	}
	return a.bytes()
}

func (a *args) rest() [][]byte {
	var all [][]byte
	for len(a.words) > 0 {
		all = append(all, a.bytes())
	}
	return all
}

func (a *args) flag(name string) bool {
	_, ok := a.options[name]
	delete(a.options, name)
	return ok
}

func (a *args) option(name string) string {
	value := a.options[name]
	delete(a.options, name)
	return value
}

func (a *args) number(name string, otherwise int64) int64 {
	if value := a.option(name); value != "" {
		return integer(value)
	}
	return otherwise
}

func (a *args) space() uint32 { return uint32(a.number("space", 0)) }

func (a *args) left() bool {
	switch side := a.next(); side {
	case "left", "before":
		return true
	case "right", "after":
		return false
	default:
		panic(side)
	}
}

func integer(word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func kindNumber(name string) uint32 {
	for kind := storage.KindNone; kind <= storage.KindStream; kind++ {
		if kind.String() == name {
			return uint32(kind)
		}
	}
	return 0
}

// scriptOps are the ops by their names in scripts.
var scriptOps map[string]func(a *args) *corepb.Op

func init() {
	scriptOps = map[string]func(a *args) *corepb.Op{
		"get": func(a *args) *corepb.Op {
			return opGet(&corepb.Get{Space: a.space(), Key: a.bytes(), RequireKind: kindNumber(a.option("kind"))})
		},
		"range": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Range{Range: &corepb.Range{
				Space: a.space(), Key: a.bytes(), End: a.maybe(), Limit: a.number("limit", 0), Revision: a.number("rev", 0),
				SortTarget: map[string]corepb.Range_SortTarget{
					"version": corepb.Range_BY_VERSION, "create": corepb.Range_BY_CREATE, "mod": corepb.Range_BY_MOD, "value": corepb.Range_BY_VALUE,
				}[a.option("sort")],
				SortOrder:      map[string]corepb.Range_SortOrder{"up": corepb.Range_ASCEND, "down": corepb.Range_DESCEND}[a.option("order")],
				KeysOnly:       a.flag("keys"),
				CountOnly:      a.flag("count"),
				MinModRevision: a.number("min-mod", 0), MaxModRevision: a.number("max-mod", 0),
				MinCreateRevision: a.number("min-create", 0), MaxCreateRevision: a.number("max-create", 0),
			}}}
		},
		"scan": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Scan{Scan: &corepb.Scan{Space: a.space(), Cursor: uint64(a.number("cursor", 0)), Limit: a.number("limit", 0)}}}
		},
		"random": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_RandomKey{RandomKey: &corepb.RandomKey{Space: a.space(), Seed: uint64(a.number("seed", 0))}}}
		},
		"hget": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_HashGet{HashGet: &corepb.HashGet{Space: a.space(), Key: a.bytes(), Fields: a.rest()}}}
		},
		"hrange": func(a *args) *corepb.Op {
			return opHashRange(&corepb.HashRange{Space: a.space(), Key: a.bytes(), Cursor: uint64(a.number("cursor", 0)), Limit: a.number("limit", 0)})
		},
		"lrange": func(a *args) *corepb.Op {
			return opListRange(&corepb.ListRange{Space: a.space(), Key: a.bytes(), Start: integer(a.next()), Stop: integer(a.next())})
		},
		"put": func(a *args) *corepb.Op {
			put := &corepb.Put{
				Space: a.space(), Key: a.bytes(), Value: a.maybe(), Lease: a.number("lease", 0), DeadlineMillis: a.number("at", 0), TtlMillis: a.number("ttl", 0),
				KeepLife: a.flag("keep"), IgnoreValue: a.flag("ignore-value"), IgnoreLease: a.flag("ignore-lease"), WantPrev: a.flag("prev"), OverCollection: a.flag("over"),
			}
			if a.flag("nx") {
				put.Condition = corepb.Put_IF_ABSENT
			} else if a.flag("xx") {
				put.Condition = corepb.Put_IF_PRESENT
			}
			return opPut(put)
		},
		"del": func(a *args) *corepb.Op {
			return opDelete(&corepb.Delete{Space: a.space(), Key: a.bytes(), End: a.maybe(), WantPrev: a.flag("prev"), AnyKind: a.flag("any"), RequireKind: kindNumber(a.option("kind"))})
		},
		"expire": func(a *args) *corepb.Op {
			expire := &corepb.Expire{Space: a.space(), Key: a.bytes(), DeadlineMillis: a.number("at", 0)}
			if value := a.option("ttl"); value != "" {
				expire.Relative, expire.TtlMillis = true, integer(value)
			}
			for i, name := range []string{"nx", "xx", "gt", "lt"} {
				if a.flag(name) {
					expire.Conditions = append(expire.Conditions, corepb.Expire_IF_NONE+corepb.Expire_Condition(i))
				}
			}
			return opExpire(expire)
		},
		"persist": func(a *args) *corepb.Op {
			return opExpire(&corepb.Expire{Space: a.space(), Key: a.bytes(), Persist: true})
		},
		"rename": func(a *args) *corepb.Op { return opTransfer(a.transfer(false)) },
		"copy":   func(a *args) *corepb.Op { return opTransfer(a.transfer(true)) },
		"flush": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Flush{Flush: &corepb.Flush{Space: a.space()}}}
		},
		"append": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Append{Append: &corepb.Append{Space: a.space(), Key: a.bytes(), Value: a.bytes()}}}
		},
		"setrange": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_SetRange{SetRange: &corepb.SetRange{Space: a.space(), Key: a.bytes(), Offset: integer(a.next()), Value: a.bytes()}}}
		},
		"add": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Add{Add: &corepb.Add{Space: a.space(), Key: a.bytes(), Delta: integer(a.next())}}}
		},
		"addfloat": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_AddFloat{AddFloat: &corepb.AddFloat{Space: a.space(), Key: a.bytes(), Delta: a.next()}}}
		},
		"hset": func(a *args) *corepb.Op {
			return opHashSet(&corepb.HashSet{Space: a.space(), Key: a.bytes(), Fields: a.rest(), IfAbsent: a.flag("nx")})
		},
		"hdel": func(a *args) *corepb.Op {
			return opHashDelete(&corepb.HashDelete{Space: a.space(), Key: a.bytes(), Fields: a.rest()})
		},
		"hadd": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_HashAdd{HashAdd: &corepb.HashAdd{Space: a.space(), Key: a.bytes(), Field: a.bytes(), Delta: integer(a.next())}}}
		},
		"haddfloat": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_HashAddFloat{HashAddFloat: &corepb.HashAddFloat{Space: a.space(), Key: a.bytes(), Field: a.bytes(), Delta: a.next()}}}
		},
		"lpush": func(a *args) *corepb.Op { return opListPush(a.push(true)) },
		"rpush": func(a *args) *corepb.Op { return opListPush(a.push(false)) },
		"lpop": func(a *args) *corepb.Op {
			return opListPop(&corepb.ListPop{Space: a.space(), Keys: a.rest(), Count: a.number("count", 1), Left: true})
		},
		"rpop": func(a *args) *corepb.Op {
			return opListPop(&corepb.ListPop{Space: a.space(), Keys: a.rest(), Count: a.number("count", 1)})
		},
		"lmove": func(a *args) *corepb.Op {
			return opListMove(&corepb.ListMove{Space: a.space(), From: a.bytes(), To: a.bytes(), FromLeft: a.left(), ToLeft: a.left()})
		},
		"lset": func(a *args) *corepb.Op {
			return opListSet(&corepb.ListSet{Space: a.space(), Key: a.bytes(), Index: integer(a.next()), Value: a.bytes()})
		},
		"linsert": func(a *args) *corepb.Op {
			return opListInsert(&corepb.ListInsert{Space: a.space(), Key: a.bytes(), Before: a.left(), Pivot: a.bytes(), Value: a.bytes()})
		},
		"lrem": func(a *args) *corepb.Op {
			return opListRemove(&corepb.ListRemove{Space: a.space(), Key: a.bytes(), Count: integer(a.next()), Value: a.bytes()})
		},
		"ltrim": func(a *args) *corepb.Op {
			return opListTrim(&corepb.ListTrim{Space: a.space(), Key: a.bytes(), Start: integer(a.next()), Stop: integer(a.next())})
		},
		"create": func(a *args) *corepb.Op {
			return opNodeCreate(&corepb.NodeCreate{
				Path: a.next(), Data: a.maybe(), Owner: a.number("owner", 0), Sequential: a.flag("sequential"), Container: a.flag("container"), TtlMillis: a.number("ttl", 0),
			})
		},
		"delete": func(a *args) *corepb.Op {
			return opNodeDelete(&corepb.NodeDelete{Path: a.next(), Version: int32(a.number("version", -1))})
		},
		"setdata": func(a *args) *corepb.Op {
			return opNodeSetData(&corepb.NodeSetData{Path: a.next(), Data: a.maybe(), Version: int32(a.number("version", -1))})
		},
		"check": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: &corepb.NodeCheck{Path: a.next(), Version: int32(a.number("version", -1))}}}
		},
		"grant": func(a *args) *corepb.Op {
			return opLeaseGrant(&corepb.LeaseGrant{
				Id: integer(a.next()), TtlMillis: integer(a.next()), Password: a.maybe(), Owner: uint64(a.number("owner", 0)),
			})
		},
		"revoke": func(a *args) *corepb.Op {
			op := opLeaseRevoke(integer(a.next()))
			revoke := op.GetLeaseRevoke()
			revoke.Term, revoke.Owner = uint64(a.number("term", 0)), uint64(a.number("owner", 0))
			revoke.GrantedMillis = int64(a.number("granted", 0))
			return op
		},
		"checkpoint": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_LeaseCheckpoint{LeaseCheckpoint: &corepb.LeaseCheckpoint{
				Id: integer(a.next()), RemainingMillis: integer(a.next()), Term: uint64(a.number("term", 0)),
				Owner: uint64(a.number("owner", 0)), GrantedMillis: int64(a.number("granted", 0)),
			}}}
		},
		"resume": func(a *args) *corepb.Op {
			return opSessionResume(&corepb.SessionResume{
				Id: integer(a.next()), TtlMillis: integer(a.next()), Password: a.bytes(), Owner: uint64(a.number("owner", 0)),
			})
		},
		"publish": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Publish{Publish: &corepb.Publish{Channel: a.bytes(), Payload: a.bytes()}}}
		},
		"compact": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: integer(a.next())}}}
		},
		"reap": func(a *args) *corepb.Op { // space key deadline …
			reap := &corepb.Reap{}
			for len(a.words) > 0 {
				reap.Due = append(reap.Due, &corepb.Reap_Due{Space: uint32(integer(a.next())), Key: a.bytes(), DeadlineMillis: integer(a.next())})
			}
			return &corepb.Op{Op: &corepb.Op_Reap{Reap: reap}}
		},
		"alarm": func(a *args) *corepb.Op { // kind member
			return alarmOp(corepb.Alarm_Kind(corepb.Alarm_Kind_value[a.next()]), uint64(integer(a.next())), !a.flag("clear"))
		},
		"auth-enable": func(*args) *corepb.Op { return &corepb.Op{Op: &corepb.Op_AuthEnable{AuthEnable: &corepb.AuthEnable{}}} },
		"auth-disable": func(*args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_AuthDisable{AuthDisable: &corepb.AuthDisable{}}}
		},
		"user-add": func(a *args) *corepb.Op { // name [password]
			return opUserAdd(&corepb.UserAdd{NoPassword: a.flag("no-password"), Name: a.next(), Password: a.maybe()})
		},
		"user-delete": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_UserDelete{UserDelete: &corepb.UserDelete{Name: a.next()}}}
		},
		"user-passwd": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_UserSetPassword{UserSetPassword: &corepb.UserSetPassword{Name: a.next(), Password: a.bytes()}}}
		},
		"user-grant": func(a *args) *corepb.Op {
			return opUserGrant(a.next(), a.next())
		},
		"user-revoke": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_UserRevokeRole{UserRevokeRole: &corepb.UserRevokeRole{User: a.next(), Role: a.next()}}}
		},
		"role-add": func(a *args) *corepb.Op { return opRoleAdd(a.next()) },
		"role-delete": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_RoleDelete{RoleDelete: &corepb.RoleDelete{Name: a.next()}}}
		},
		"role-grant": func(a *args) *corepb.Op { // name [type key [end]]
			grant := &corepb.RoleGrant{Name: a.next()}
			if len(a.words) > 0 {
				grant.Permission = &corepb.Permission{Type: corepb.Permission_Type(corepb.Permission_Type_value[a.next()]), Key: a.bytes(), End: a.maybe()}
			}
			return &corepb.Op{Op: &corepb.Op_RoleGrant{RoleGrant: grant}}
		},
		"role-revoke": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_RoleRevoke{RoleRevoke: &corepb.RoleRevoke{Name: a.next(), Key: a.bytes(), End: a.maybe()}}}
		},
		"login": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_Login{Login: &corepb.Login{User: a.next(), Prefix: a.next()}}}
		},
		"hash-check": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_HashCheck{HashCheck: &corepb.HashCheck{Id: uint64(integer(a.next()))}}}
		},
		"member-add": func(a *args) *corepb.Op { // id url …
			return &corepb.Op{Op: &corepb.Op_MemberAdd{MemberAdd: &corepb.MemberAdd{
				Member:      &corepb.Member{Id: uint64(integer(a.next())), Name: a.option("name"), Learner: a.flag("learner"), PeerUrls: a.restStrings()},
				LearnersMax: int32(a.number("learners-max", 0)),
			}}}
		},
		"member-promote": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_MemberPromote{MemberPromote: &corepb.MemberPromote{Id: uint64(integer(a.next()))}}}
		},
		"member-remove": func(a *args) *corepb.Op {
			return &corepb.Op{Op: &corepb.Op_MemberRemove{MemberRemove: &corepb.MemberRemove{Id: uint64(integer(a.next()))}}}
		},
		"member-update": func(a *args) *corepb.Op { // id url …
			return &corepb.Op{Op: &corepb.Op_MemberUpdate{MemberUpdate: &corepb.MemberUpdate{Id: uint64(integer(a.next())), PeerUrls: a.restStrings()}}}
		},
		"member-publish": func(a *args) *corepb.Op { // id name client-url …
			m := &corepb.Member{Id: uint64(integer(a.next())), Name: a.next(), Version: a.option("version"), ClientUrls: a.restStrings()}
			if listener := a.option("resp"); listener != "" {
				m.Listeners = map[string]string{"resp": listener, "all": listener, "zk": listener}
			}
			return &corepb.Op{Op: &corepb.Op_MemberPublish{MemberPublish: &corepb.MemberPublish{Member: m}}}
		},
	}
}

func (a *args) restStrings() (all []string) {
	for _, word := range a.rest() {
		all = append(all, string(word))
	}
	return all
}

func (a *args) transfer(copied bool) *corepb.Transfer {
	return &corepb.Transfer{
		From: a.bytes(), To: a.bytes(), FromSpace: uint32(a.number("from-space", 0)), ToSpace: uint32(a.number("to-space", 0)), Copy: copied, IfAbsent: a.flag("nx"),
	}
}

func (a *args) push(left bool) *corepb.ListPush {
	return &corepb.ListPush{Space: a.space(), Key: a.bytes(), Values: a.rest(), Left: left, IfPresent: a.flag("xx")}
}

// The ops that tests write by hand.

func opGet(op *corepb.Get) *corepb.Op       { return &corepb.Op{Op: &corepb.Op_Get{Get: op}} }
func opPut(op *corepb.Put) *corepb.Op       { return &corepb.Op{Op: &corepb.Op_Put{Put: op}} }
func opDelete(op *corepb.Delete) *corepb.Op { return &corepb.Op{Op: &corepb.Op_Delete{Delete: op}} }
func opExpire(op *corepb.Expire) *corepb.Op { return &corepb.Op{Op: &corepb.Op_Expire{Expire: op}} }
func opTransfer(op *corepb.Transfer) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Transfer{Transfer: op}}
}
func opHashRange(op *corepb.HashRange) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_HashRange{HashRange: op}}
}
func opHashSet(op *corepb.HashSet) *corepb.Op { return &corepb.Op{Op: &corepb.Op_HashSet{HashSet: op}} }
func opHashDelete(op *corepb.HashDelete) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_HashDelete{HashDelete: op}}
}
func opListRange(op *corepb.ListRange) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListRange{ListRange: op}}
}
func opListPush(op *corepb.ListPush) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListPush{ListPush: op}}
}
func opListPop(op *corepb.ListPop) *corepb.Op { return &corepb.Op{Op: &corepb.Op_ListPop{ListPop: op}} }
func opListMove(op *corepb.ListMove) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListMove{ListMove: op}}
}
func opListSet(op *corepb.ListSet) *corepb.Op { return &corepb.Op{Op: &corepb.Op_ListSet{ListSet: op}} }
func opListInsert(op *corepb.ListInsert) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListInsert{ListInsert: op}}
}
func opListRemove(op *corepb.ListRemove) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListRemove{ListRemove: op}}
}
func opListTrim(op *corepb.ListTrim) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListTrim{ListTrim: op}}
}
func opNodeCreate(op *corepb.NodeCreate) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_NodeCreate{NodeCreate: op}}
}
func opNodeDelete(op *corepb.NodeDelete) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_NodeDelete{NodeDelete: op}}
}
func opNodeSetData(op *corepb.NodeSetData) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_NodeSetData{NodeSetData: op}}
}
func opLeaseGrant(op *corepb.LeaseGrant) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: op}}
}
func opSessionResume(op *corepb.SessionResume) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_SessionResume{SessionResume: op}}
}
func opUserAdd(op *corepb.UserAdd) *corepb.Op { return &corepb.Op{Op: &corepb.Op_UserAdd{UserAdd: op}} }
func opUserGrant(user, role string) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_UserGrantRole{UserGrantRole: &corepb.UserGrantRole{User: user, Role: role}}}
}
func opRoleAdd(name string) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_RoleAdd{RoleAdd: &corepb.RoleAdd{Name: name}}}
}
func opLeaseRevoke(id int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: id}}}
}
