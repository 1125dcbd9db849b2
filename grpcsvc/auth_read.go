package grpcsvc

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// The calls that tell of users and roles. They show the newest state, and need the role root, but for what is one's own.

// rootRole is the role that may do everything, whatever is stored of it.
const rootRole = "root"

// asked is what a call is answered from, once its caller was allowed to ask. It must be closed.
type asked struct {
	*core.View
	header *pb.ResponseHeader
}

// ask gives the newest state if the caller has the role root, or own says that it is theirs to know.
func (s *authService) ask(ctx context.Context, own func(view *core.View, user string) bool) (*asked, error) {
	view, err := s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	if err := view.PermitRoot(); err != nil {
		caller, _ := s.caller(ctx) // which the view was made with
		if caller == nil || !own(view, caller.User) {
			view.Close()
			return nil, statusOf(err)
		}
	}
	return &asked{View: view, header: s.header(view.Revision())}, nil
}

func nobodys(*core.View, string) bool { return false }

// UserGet tells a user's roles; users may ask for their own.
func (s *authService) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	view, err := s.ask(ctx, func(_ *core.View, user string) bool { return user == r.Name })
	if err != nil {
		return nil, err
	}
	defer view.Close()
	user := view.User(r.Name)
	if user == nil {
		return nil, statusOf(core.ErrUserNotFound)
	}
	return &pb.AuthUserGetResponse{Header: view.header, Roles: user.Roles}, nil
}

// UserList names the users.
func (s *authService) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	view, err := s.ask(ctx, nobodys)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	answer := &pb.AuthUserListResponse{Header: view.header}
	view.Users(func(u *corepb.User) { answer.Users = append(answer.Users, u.Name) })
	return answer, statusOf(view.Err())
}

// RoleGet tells what a role allows; users may ask for roles that they have.
func (s *authService) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	view, err := s.ask(ctx, func(view *core.View, user string) bool {
		known := view.User(user)
		return known != nil && slices.Contains(known.Roles, r.Role)
	})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	role := view.Role(r.Role)
	if role == nil {
		return nil, statusOf(&core.Error{Code: core.CodeRoleNotFound})
	}
	answer := &pb.AuthRoleGetResponse{Header: view.header}
	if r.Role == rootRole {
		answer.Perm = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, RangeEnd: []byte{0}}}
		return answer, nil
	}
	for _, p := range role.Permissions {
		answer.Perm = append(answer.Perm, &authpb.Permission{PermType: authpb.Permission_Type(p.Type), Key: p.Key, RangeEnd: p.End})
	}
	return answer, nil
}

// RoleList names the roles.
func (s *authService) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	view, err := s.ask(ctx, nobodys)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	answer := &pb.AuthRoleListResponse{Header: view.header}
	view.Roles(func(r *corepb.Role) { answer.Roles = append(answer.Roles, r.Name) })
	return answer, statusOf(view.Err())
}
