package coretest

import (
	"testing"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// User is one for the tests of adapters, with what it may read and write: ranges as etcd writes them.
type User struct {
	Name, Password string
	Root           bool
	Permissions    []*corepb.Permission
}

// EnableAuth adds a user root with the password "rootpw", and others, each with a role of its own, and turns
// authentication on.
func EnableAuth(t testing.TB, store *core.Store, users ...User) {
	t.Helper()
	do := func(op *corepb.Op) {
		t.Helper()
		result, err := store.Do(t.Context(), &corepb.Txn{Then: []*corepb.Op{op}, AbortOnError: true})
		if err == nil {
			err = result.Err
		}
		if err != nil {
			t.Fatalf("%v: %v", op, err)
		}
	}
	for _, u := range append(users, User{Name: "root", Password: "rootpw", Root: true}) {
		password, err := store.HashPassword(t.Context(), u.Password, 4)
		if err != nil {
			t.Fatal(err)
		}
		do(&corepb.Op{Op: &corepb.Op_UserAdd{UserAdd: &corepb.UserAdd{Name: u.Name, Password: password}}})
		role := "root"
		if !u.Root {
			role = u.Name
			do(&corepb.Op{Op: &corepb.Op_RoleAdd{RoleAdd: &corepb.RoleAdd{Name: role}}})
			for _, p := range u.Permissions {
				do(&corepb.Op{Op: &corepb.Op_RoleGrant{RoleGrant: &corepb.RoleGrant{Name: role, Permission: p}}})
			}
		}
		do(&corepb.Op{Op: &corepb.Op_UserGrantRole{UserGrantRole: &corepb.UserGrantRole{User: u.Name, Role: role}}})
	}
	do(&corepb.Op{Op: &corepb.Op_AuthEnable{AuthEnable: &corepb.AuthEnable{}}})
}
