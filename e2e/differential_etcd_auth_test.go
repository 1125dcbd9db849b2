package e2e

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Users and roles, against the real etcd: everything that is asked is asked of both, as the same user.

// login makes the requests that follow those of a user; without a name they are nobody's, and a name that starts with a
// dot is a token as it stands.
func (p *etcdPair) login(t testing.TB, user string) {
	t.Helper()
	name, password, _ := strings.Cut(user, " ")
	p.tokens = [2]string{}
	if name == "" || name[0] == '.' {
		p.tokens = [2]string{name, name}
		return
	}
	var tokens [2]string
	for i := range tokens {
		answer, err := p.invoke(i, "Authenticate", &pb.AuthenticateRequest{Name: name, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		tokens[i] = answer.(*pb.AuthenticateResponse).Token
	}
	p.tokens = tokens
}

// play runs lines "METHOD REQUEST", and "as USER PASSWORD".
func (p *etcdPair) play(t testing.TB, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case verb == "as":
			p.login(t, rest)
		default:
			p.compare(verb, rest)
		}
	}
}

// authSetup has what changes of users and roles can go wrong with, and ends with authentication on:
// root, anna with the role r, bert without any, cora without a password.
const authSetup = `
	AuthStatus
	AuthEnable
	AuthDisable
	Authenticate name:"root" password:"x"
	UserAdd name:"" password:"x"
	UserAdd name:"root" password:"rootpw"
	UserAdd name:"root" password:"other"
	AuthEnable
	UserGrantRole user:"root" role:"nothing"
	UserGrantRole user:"nobody" role:"root"
	UserGrantRole user:"root" role:"root"
	UserGrantRole user:"root" role:"root"
	UserAdd name:"anna" password:"annapw"
	UserAdd name:"bert" password:"bertpw"
	UserAdd name:"cora" options:{no_password:true}
	UserAdd name:"dora" password:"x" options:{no_password:true}
	UserAdd name:"long" password:"0123456789012345678901234567890123456789012345678901234567890123456789012"
	UserAdd name:"empty"
	RoleAdd name:""
	RoleAdd name:"r"
	RoleAdd name:"r"
	RoleGet role:"r"
	RoleGet role:"nothing"
	RoleGet role:"root"
	RoleGrantPermission name:"r"
	RoleGrantPermission name:"r" perm:{}
	RoleGrantPermission name:"r" perm:{key:"b" range_end:"a"}
	RoleGrantPermission name:"r" perm:{key:"b" range_end:"b"}
	RoleGrantPermission name:"nothing" perm:{key:"b"}
	RoleGrantPermission name:"r" perm:{key:"m" permType:READWRITE}
	RoleGrantPermission name:"r" perm:{key:"a" range_end:"c" permType:READWRITE}
	RoleGrantPermission name:"r" perm:{key:"c" range_end:"e" permType:READ}
	RoleGrantPermission name:"r" perm:{key:"f" range_end:"h" permType:WRITE}
	RoleGrantPermission name:"r" perm:{key:"z" range_end:"\x00" permType:READWRITE}
	RoleGrantPermission name:"r" perm:{key:"m" permType:READ}
	RoleGet role:"r"
	RoleRevokePermission role:"r" key:"a" range_end:"b"
	RoleRevokePermission role:"nothing" key:"a" range_end:"b"
	RoleRevokePermission role:"r" key:"m"
	RoleGrantPermission name:"r" perm:{key:"m" permType:READWRITE}
	RoleList
	UserList
	UserGet name:"anna"
	UserGet name:"nobody"
	UserGrantRole user:"anna" role:"r"
	UserGet name:"anna"
	UserRevokeRole name:"anna" role:"nothing"
	UserRevokeRole name:"nobody" role:"r"
	UserChangePassword name:"nobody" password:"x"
	UserChangePassword name:"cora" password:"x"
	UserChangePassword name:"bert" hashedPassword:"no base64!"
	UserDelete name:"nobody"
	RoleDelete role:"nothing"
	AuthStatus
	# What is there before authentication is on.
	LeaseGrant ID:5 TTL:1000
	LeaseGrant ID:6 TTL:1000
	Put key:"a" value:"1" lease:5
	Put key:"c" value:"1"
	Put key:"f" value:"1" lease:6
	Put key:"x" value:"1" lease:6
	AuthEnable
	AuthStatus
	Authenticate name:"anna" password:"wrong"
	Authenticate name:"anna" password:""
	Authenticate name:"nobody" password:"x"
	Authenticate name:"cora" password:"x"
	Authenticate name:"dora" password:"x"
	Authenticate name:"empty" password:""
	Authenticate name:"empty" password:"x"
	Authenticate name:"" password:""
	Authenticate name:"anna" password:"annapw"
`

// everyCall is one of everything, in a form that leaves things as they are where it is allowed, or is undone.
const everyCall = `
	Range key:"a"
	Range key:"m"
	Range key:"x"
	Range key:"f"
	Range key:"a" range_end:"e"
	Range key:"a" range_end:"f"
	Range key:"b" range_end:"d" serializable:true
	Range key:"e" range_end:"b"
	Range key:"a" range_end:"\x00"
	Range key:"z" range_end:"\x00"
	Range key:"zz" range_end:"\x00" count_only:true
	Range key:"\x00" range_end:"\x00"
	Range key:""
	Range key:"x" revision:99999
	RangeStream key:"a" range_end:"e"
	RangeStream key:"a" range_end:"x"
	Put key:"a" value:"2" lease:5
	Put key:"a" value:"2" lease:6
	Put key:"a" value:"2" lease:99
	Put key:"c" value:"2"
	Put key:"f" value:"2" lease:6 prev_kv:true
	Put key:"f" value:"2" lease:6
	Put key:"m" value:"2" prev_kv:true
	Put key:"x" value:"2" lease:6
	Put key:"none" ignore_value:true
	DeleteRange key:"b"
	DeleteRange key:"aa" range_end:"b" prev_kv:true
	DeleteRange key:"aa" range_end:"d"
	DeleteRange key:"g" range_end:"h"
	DeleteRange key:"g" range_end:"h" prev_kv:true
	Txn
	Txn compare:{key:"a" target:VERSION} success:{request_range:{key:"a"}}
	Txn compare:{key:"x" target:VERSION} success:{request_range:{key:"a"}}
	Txn compare:{key:"a" range_end:"e" target:VERSION}
	Txn compare:{key:"a" range_end:"g" target:VERSION}
	Txn success:{request_put:{key:"b" value:"1"}} success:{request_delete_range:{key:"ba"}}
	Txn success:{request_put:{key:"b" value:"1"}} failure:{request_put:{key:"x" value:"1"}}
	Txn success:{request_put:{key:"f" value:"1" prev_kv:true}}
	Txn success:{request_delete_range:{key:"g" prev_kv:true}}
	Txn success:{request_txn:{success:{request_range:{key:"a"}} failure:{request_range:{key:"x"}}}}
	Txn success:{request_txn:{success:{request_range:{key:"a" serializable:true}}}}
	Compact revision:99999
	Compact revision:0
	WatchCreate key:"a"
	WatchCreate key:"a" range_end:"e"
	WatchCreate key:"a" range_end:"g"
	WatchCreate key:"x"
	WatchCreate
	WatchCreate key:"z" range_end:"\x00"
	WatchCreate key:"x" start_revision:-1
	WatchCreate key:"x" range_end:"a"
	LeaseGrant ID:9 TTL:1000
	LeaseKeepAlive ID:5
	LeaseKeepAlive ID:6
	LeaseKeepAlive ID:99
	LeaseTimeToLive ID:5
	LeaseTimeToLive ID:5 keys:true
	LeaseTimeToLive ID:6
	LeaseTimeToLive ID:6 keys:true
	LeaseTimeToLive ID:99 keys:true
	LeaseLeases
	LeaseRevoke ID:6
	LeaseRevoke ID:9
	LeaseRevoke ID:99
	MemberList
	MemberList linearizable:true
	MemberAdd
	MemberRemove ID:99
	MemberUpdate ID:99 peerURLs:"http://a:1"
	MemberPromote ID:99
	Status
	Alarm
	Alarm action:DEACTIVATE alarm:NOSPACE
	HashKV
	Hash
	Snapshot
	Defragment
	AuthStatus
	UserList
	RoleList
	UserGet name:"anna"
	UserGet name:"bert"
	UserGet name:"nobody"
	RoleGet role:"r"
	RoleGet role:"root"
	RoleGet role:"nothing"
	UserAdd name:"" password:"x"
	UserAdd name:"anna" password:"x"
	UserDelete name:"root"
	UserDelete name:"nobody"
	UserChangePassword name:"nobody" password:"x"
	UserGrantRole user:"nobody" role:"r"
	UserGrantRole user:"anna" role:"nothing"
	UserRevokeRole name:"root" role:"root"
	UserRevokeRole name:"bert" role:"r"
	RoleAdd name:"r"
	RoleDelete role:"root"
	RoleDelete role:"nothing"
	RoleGrantPermission name:"nothing" perm:{key:"a"}
	RoleRevokePermission role:"r" key:"nothing"
	AuthEnable
`

func TestWhatUsersMayDoIsWhatEtcdLetsThem(t *testing.T) {
	p := startEtcdPair(t)
	p.play(t, authSetup)
	if t.Failed() {
		t.FailNow() // what follows would differ for that
	}
	for _, user := range []string{"", ".no.1", ".nonsense", "anna annapw", "bert bertpw", "root rootpw"} {
		t.Run("as "+user, func(t *testing.T) {
			p.t, p.ctx = t, testContext(t)
			p.play(t, "as "+user+"\n"+everyCall)
			// What the calls took away is there again for the next user.
			p.play(t, `
				as root rootpw
				LeaseGrant ID:6 TTL:1000
				Put key:"f" value:"1" lease:6
				Put key:"x" value:"1" lease:6
				Put key:"a" value:"1" lease:5
			`)
		})
	}
}

func TestLoginsEndWhenEtcdsDo(t *testing.T) {
	p := startEtcdPair(t)
	p.play(t, authSetup)
	asRoot := func(script string) {
		t.Helper()
		anna := p.tokens
		p.play(t, "as root rootpw\n"+script)
		p.tokens = anna
		p.play(t, `
			Range key:"a"
			Put key:"a" value:"1"
			LeaseGrant ID:77 TTL:100
			AuthStatus
		`)
	}
	p.play(t, "as anna annapw")
	asRoot(`RoleGrantPermission name:"r" perm:{key:"x"}`)
	asRoot(`RoleRevokePermission role:"r" key:"a" range_end:"c"`)
	asRoot(`UserRevokeRole name:"anna" role:"r"`)
	asRoot(`UserGrantRole user:"anna" role:"root"`)
	asRoot(`UserChangePassword name:"anna" password:"new"`)
	p.play(t, "as anna new")
	asRoot(`RoleDelete role:"root"`)
	asRoot(`UserDelete name:"anna"`)
	asRoot(`UserAdd name:"anna" password:"new"`)
	p.play(t, "as anna new")
	asRoot(`AuthDisable`)
	p.play(t, `
		AuthEnable
		Range key:"a"
	`)
}
