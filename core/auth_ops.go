package core

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// The commands that change users and roles, and who is logged in.

// errNotAlone is answered to what changes users and roles together with anything else.
var errNotAlone = &Error{Code: CodeBadArguments, Detail: "the operation stands alone in its transaction"}

// standsAlone says whether a Txn is one op and nothing else.
func standsAlone(txn *corepb.Txn) bool {
	return len(txn.Guards) == 0 && len(txn.Then) == 1 && len(txn.Otherwise) == 0
}

// auth carries out one of them.
func (t *tx) auth(op *corepb.Op, out *Result) {
	if t.whole == nil || !standsAlone(t.whole) {
		out.Err = errNotAlone
		return
	}
	changed := false
	switch op := op.Op.(type) {
	case *corepb.Op_AuthEnable:
		out.OK, out.Err = t.authEnable()
		return // the tables are as they were
	case *corepb.Op_Login:
		t.login(op.Login, out)
		return
	case *corepb.Op_AuthDisable:
		changed = t.authDisable()
	case *corepb.Op_UserAdd:
		changed, out.Err = t.userAdd(op.UserAdd)
	case *corepb.Op_UserDelete:
		changed, out.Err = t.userDelete(op.UserDelete)
	case *corepb.Op_UserSetPassword:
		changed, out.Err = t.userSetPassword(op.UserSetPassword)
	case *corepb.Op_UserGrantRole:
		changed, out.Err = t.userGrantRole(op.UserGrantRole)
	case *corepb.Op_UserRevokeRole:
		changed, out.Err = t.userRevokeRole(op.UserRevokeRole)
	case *corepb.Op_RoleAdd:
		changed, out.Err = t.roleAdd(op.RoleAdd)
	case *corepb.Op_RoleDelete:
		changed, out.Err = t.roleDelete(op.RoleDelete)
	case *corepb.Op_RoleGrant:
		changed, out.Err = t.roleGrant(op.RoleGrant)
	case *corepb.Op_RoleRevoke:
		changed, out.Err = t.roleRevoke(op.RoleRevoke)
	}
	if changed {
		t.b.State().AuthRevision++
	}
	out.OK = changed
}

func (t *tx) storeUser(u *corepb.User) {
	value, _ := u.MarshalVT() // marshalling these fields cannot fail
	t.b.Set(storage.UserKey(nil, u.Name), value)
}

func (t *tx) storeRole(r *corepb.Role) {
	value, _ := r.MarshalVT()
	t.b.Set(storage.RoleKey(nil, r.Name), value)
}

// guarded says whether a name is one that must stay while authentication is on.
func (t *tx) guarded(name string) bool { return name == rootName && t.r.State().AuthEnabled }

func (t *tx) authEnable() (changed bool, err error) {
	state := t.b.State()
	if state.AuthEnabled {
		return false, nil
	}
	switch root := t.user(rootName); {
	case root == nil:
		return false, &Error{Code: CodeRootUserMissing}
	case !slices.Contains(root.Roles, rootName):
		return false, &Error{Code: CodeRootRoleMissing}
	}
	state.AuthEnabled = true
	return true, nil
}

func (t *tx) authDisable() (changed bool) {
	state := t.b.State()
	if !state.AuthEnabled {
		return false
	}
	state.AuthEnabled = false
	t.logins = append(t.logins, loginChange{})
	return true
}

func (t *tx) userAdd(op *corepb.UserAdd) (changed bool, err error) {
	switch {
	case op.Name == "":
		return false, ErrUserEmpty
	case t.user(op.Name) != nil:
		return false, &Error{Code: CodeUserExists}
	}
	u := &corepb.User{Name: op.Name, NoPassword: op.NoPassword}
	if !op.NoPassword {
		u.Password = op.Password
	}
	t.storeUser(u)
	return true, nil
}

func (t *tx) userDelete(op *corepb.UserDelete) (changed bool, err error) {
	switch {
	case t.guarded(op.Name):
		return false, &Error{Code: CodeAuthManagement}
	case t.user(op.Name) == nil:
		return false, ErrUserNotFound
	}
	t.b.Delete(storage.UserKey(nil, op.Name))
	t.logins = append(t.logins, loginChange{user: op.Name})
	return true, nil
}

func (t *tx) userSetPassword(op *corepb.UserSetPassword) (changed bool, err error) {
	u := t.user(op.Name)
	if u == nil {
		return false, ErrUserNotFound
	}
	if !u.NoPassword {
		u.Password = op.Password
	}
	t.storeUser(u)
	t.logins = append(t.logins, loginChange{user: op.Name})
	return true, nil
}

func (t *tx) userGrantRole(op *corepb.UserGrantRole) (changed bool, err error) {
	u := t.user(op.User)
	switch {
	case u == nil:
		return false, ErrUserNotFound
	case op.Role != rootName && t.role(op.Role) == nil:
		return false, &Error{Code: CodeRoleNotFound}
	}
	at, has := slices.BinarySearch(u.Roles, op.Role)
	if has {
		return false, nil
	}
	u.Roles = slices.Insert(u.Roles, at, op.Role)
	t.storeUser(u)
	return true, nil
}

func (t *tx) userRevokeRole(op *corepb.UserRevokeRole) (changed bool, err error) {
	if op.Role == rootName && t.guarded(op.User) {
		return false, &Error{Code: CodeAuthManagement}
	}
	u := t.user(op.User)
	if u == nil {
		return false, ErrUserNotFound
	}
	if !t.withoutRole(u, op.Role) {
		return false, &Error{Code: CodeRoleNotGranted}
	}
	return true, nil
}

// withoutRole takes a role from a user who has it.
func (t *tx) withoutRole(u *corepb.User, role string) bool {
	at, has := slices.BinarySearch(u.Roles, role)
	if !has {
		return false
	}
	u.Roles = slices.Delete(u.Roles, at, at+1)
	t.storeUser(u)
	return true
}

func (t *tx) roleAdd(op *corepb.RoleAdd) (changed bool, err error) {
	switch {
	case op.Name == "":
		return false, &Error{Code: CodeRoleEmpty}
	case t.role(op.Name) != nil:
		return false, &Error{Code: CodeRoleExists}
	}
	t.storeRole(&corepb.Role{Name: op.Name})
	return true, nil
}

func (t *tx) roleDelete(op *corepb.RoleDelete) (changed bool, err error) {
	switch {
	case t.guarded(op.Name):
		return false, &Error{Code: CodeAuthManagement}
	case t.role(op.Name) == nil:
		return false, &Error{Code: CodeRoleNotFound}
	}
	t.b.Delete(storage.RoleKey(nil, op.Name))
	var users []*corepb.User
	eachUser(t.r, func(u *corepb.User) { users = append(users, u) })
	for _, u := range users {
		t.withoutRole(u, op.Name)
	}
	return true, nil
}

func (t *tx) roleGrant(op *corepb.RoleGrant) (changed bool, err error) {
	p := op.Permission
	switch {
	case p == nil:
		return false, &Error{Code: CodePermissionNotGiven}
	case !grantable(p.Key, p.End):
		return false, &Error{Code: CodeAuthManagement}
	}
	r := t.role(op.Name)
	if r == nil {
		return false, &Error{Code: CodeRoleNotFound}
	}
	at, has := slices.BinarySearchFunc(r.Permissions, p, comparePermissions)
	if has {
		r.Permissions[at].Type = p.Type
	} else {
		r.Permissions = slices.Insert(r.Permissions, at, p)
	}
	t.storeRole(r)
	return true, nil
}

// grantable says whether there can be a permission for a range: one key that is not empty, all keys from one on, or a
// range whose end is above its start.
func grantable(key, end []byte) bool {
	return len(key) > 0 && (len(end) == 0 || bytes.Equal(end, everyKey) || bytes.Compare(key, end) < 0)
}

func (t *tx) roleRevoke(op *corepb.RoleRevoke) (changed bool, err error) {
	r := t.role(op.Name)
	if r == nil {
		return false, &Error{Code: CodeRoleNotFound}
	}
	at, has := slices.BinarySearchFunc(r.Permissions, &corepb.Permission{Key: op.Key, End: op.End}, comparePermissions)
	if !has {
		return false, &Error{Code: CodePermissionNotGranted}
	}
	r.Permissions = slices.Delete(r.Permissions, at, at+1)
	t.storeRole(r)
	return true, nil
}

// loginChange is a login, when it has a token, or the end of a user's logins, or of everybody's.
type loginChange struct{ token, user string }

func (t *tx) login(op *corepb.Login, out *Result) {
	if !t.r.State().AuthEnabled {
		out.Err = ErrAuthDisabled
		return
	}
	if u := t.user(op.User); u == nil || u.NoPassword {
		out.Err = ErrAuthFailed
		return
	}
	token := op.Prefix + tokenSeparator + strconv.FormatUint(t.r.State().AppliedIndex, 10)
	t.logins = append(t.logins, loginChange{token: token, user: op.User})
	out.Key = []byte(token)
}
