package grpcsvc

import (
	"context"
	"encoding/base64"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// authService is etcdserverpb.Auth. Changes are commands of core, which judges their caller as well.
type authService struct {
	pb.UnimplementedAuthServer
	*Server
}

// change runs a command about users and roles, and gives the header of its answer.
func (s *authService) change(ctx context.Context, op *corepb.Op) (*pb.ResponseHeader, error) {
	result, err := s.do(ctx, &corepb.Txn{Then: []*corepb.Op{op}, AbortOnError: true})
	if err != nil {
		return nil, err
	}
	return s.header(result.Revision), nil
}

// AuthEnable turns authentication on.
func (s *authService) AuthEnable(ctx context.Context, _ *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_AuthEnable{AuthEnable: &corepb.AuthEnable{}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthEnableResponse{Header: header}, nil
}

// AuthDisable turns it off.
func (s *authService) AuthDisable(ctx context.Context, _ *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_AuthDisable{AuthDisable: &corepb.AuthDisable{}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthDisableResponse{Header: header}, nil
}

// AuthStatus says whether it is on. Anybody may ask.
func (s *authService) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	view, err := s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	enabled, revision := view.Auth()
	return &pb.AuthStatusResponse{Header: s.header(view.Revision()), Enabled: enabled, AuthRevision: revision}, nil
}

// Authenticate gives a token for a password.
func (s *authService) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	token, err := s.opts.Tokens.give(ctx, s.store, r.Name, r.Password)
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.AuthenticateResponse{Header: s.header(s.store.Revision()), Token: token}, nil
}

// errNoPassword has etcd's words for a hash that is none.
var errNoPassword = status.Error(codes.Unknown, "auth: authentication failed, password was given for no password user")

// password gives the stored form of a password. As in etcd, a client may send that itself.
func (s *authService) password(ctx context.Context, plain, hashed string, emptyIsOne bool) ([]byte, error) {
	if plain != "" || emptyIsOne {
		stored, err := s.store.HashPassword(ctx, plain, s.opts.BcryptCost)
		if err != nil {
			return nil, status.Error(codes.Unknown, err.Error())
		}
		return stored, nil
	}
	stored, err := base64.StdEncoding.DecodeString(hashed)
	if err != nil {
		return nil, errNoPassword
	}
	return stored, nil
}

// UserAdd adds a user, without roles.
func (s *authService) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	if err := s.permitRoot(ctx); err != nil { // before the work that a hash is
		return nil, err
	}
	add := &corepb.UserAdd{Name: r.Name, NoPassword: r.Options.GetNoPassword()}
	if !add.NoPassword {
		var err error
		if add.Password, err = s.password(ctx, r.Password, "", true); err != nil {
			return nil, err
		}
	}
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_UserAdd{UserAdd: add}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserAddResponse{Header: header}, nil
}

// UserDelete removes a user.
func (s *authService) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_UserDelete{UserDelete: &corepb.UserDelete{Name: r.Name}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserDeleteResponse{Header: header}, nil
}

// UserChangePassword replaces a password.
func (s *authService) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	if err := s.permitRoot(ctx); err != nil { // before the work that a hash is
		return nil, err
	}
	password, err := s.password(ctx, r.Password, r.HashedPassword, false)
	if err != nil {
		return nil, err
	}
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_UserSetPassword{UserSetPassword: &corepb.UserSetPassword{
		Name: r.Name, Password: password,
	}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserChangePasswordResponse{Header: header}, nil
}

// UserGrantRole gives a role to a user.
func (s *authService) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_UserGrantRole{UserGrantRole: &corepb.UserGrantRole{User: r.User, Role: r.Role}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserGrantRoleResponse{Header: header}, nil
}

// UserRevokeRole takes a role from a user.
func (s *authService) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_UserRevokeRole{UserRevokeRole: &corepb.UserRevokeRole{User: r.Name, Role: r.Role}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserRevokeRoleResponse{Header: header}, nil
}

// RoleAdd adds a role, without permissions.
func (s *authService) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_RoleAdd{RoleAdd: &corepb.RoleAdd{Name: r.Name}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleAddResponse{Header: header}, nil
}

// RoleDelete removes a role, also from its users.
func (s *authService) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_RoleDelete{RoleDelete: &corepb.RoleDelete{Name: r.Role}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleDeleteResponse{Header: header}, nil
}

// permissionTypes are core's by etcd's numbers, and the other way round.
var permissionTypes = map[authpb.Permission_Type]corepb.Permission_Type{
	authpb.Permission_READ: corepb.Permission_READ, authpb.Permission_WRITE: corepb.Permission_WRITE,
	authpb.Permission_READWRITE: corepb.Permission_READWRITE,
}

// RoleGrantPermission allows a role to read or write a range of keys.
func (s *authService) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	grant := &corepb.RoleGrant{Name: r.Name}
	if r.Perm != nil {
		kind, known := permissionTypes[r.Perm.PermType]
		if !known {
			return nil, statusOf(&core.Error{Code: core.CodeAuthManagement})
		}
		grant.Permission = &corepb.Permission{Type: kind, Key: r.Perm.Key, End: r.Perm.RangeEnd}
	}
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_RoleGrant{RoleGrant: grant}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleGrantPermissionResponse{Header: header}, nil
}

// RoleRevokePermission takes that back.
func (s *authService) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	header, err := s.change(ctx, &corepb.Op{Op: &corepb.Op_RoleRevoke{RoleRevoke: &corepb.RoleRevoke{
		Name: r.Role, Key: r.Key, End: r.RangeEnd,
	}}})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleRevokePermissionResponse{Header: header}, nil
}
