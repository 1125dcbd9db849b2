package etcdfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// The buckets of etcd's schema. The members' are there and empty: who restores a file says who they are.
var (
	bucketKey   = []byte("key")   // revision -> KeyValue
	bucketMeta  = []byte("meta")  // name -> a number, or text
	bucketLease = []byte("lease") // id -> Lease
	bucketAuth  = []byte("auth")  // name -> whether authentication is on, and its revision
	bucketUsers = []byte("authUsers")
	bucketRoles = []byte("authRoles")

	buckets = [][]byte{
		bucketKey, bucketMeta, bucketLease, []byte("alarm"), []byte("cluster"), []byte("members"), []byte("members_removed"),
		bucketAuth, bucketUsers, bucketRoles,
	}
)

var (
	metaIndex          = []byte("consistent_index")
	metaTerm           = []byte("term")
	metaScheduled      = []byte("scheduledCompactRev") // the last compaction that was asked for
	metaFinished       = []byte("finishedCompactRev")  // and the last that has been carried out
	metaStorageVersion = []byte("storageVersion")
	authEnabled        = []byte("authEnabled")
	authRevision       = []byte("authRevision")
)

// A revision is main and sub, each in 8 bytes, with '_' between them; 't' follows that of a deletion.
const (
	revisionBytes = 8 + 1 + 8
	tombstone     = 't'
)

// maxRevisionBytes is the size of a deletion's revision.
const maxRevisionBytes = revisionBytes + 1

func appendRevision(dst []byte, revision int64, sub int32, deleted bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(revision))
	dst = append(dst, '_')
	dst = binary.BigEndian.AppendUint64(dst, uint64(sub))
	if deleted {
		dst = append(dst, tombstone)
	}
	return dst
}

// parseRevision undoes appendRevision.
func parseRevision(k []byte) (revision int64, sub int32, deleted bool, err error) {
	deleted = len(k) == maxRevisionBytes && k[revisionBytes] == tombstone
	if len(k) != revisionBytes && !deleted || k[8] != '_' {
		return 0, 0, false, fmt.Errorf("%x is no revision", k)
	}
	main, after := binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[9:])
	if main > math.MaxInt64 || after > math.MaxInt32 {
		return 0, 0, false, fmt.Errorf("revision %d sub %d is out of range", main, after)
	}
	return int64(main), int32(after), deleted, nil
}

// changeRow is the row of a change of a key.
func changeRow(e *storage.Event) (key, value []byte, err error) {
	kv := &mvccpb.KeyValue{Key: e.Key}
	deleted := e.Type == storage.EventDelete
	if !deleted {
		r := &e.Record
		kv.CreateRevision, kv.ModRevision, kv.Version = r.CreateRevision, r.ModRevision, r.Version
		kv.Lease, kv.Value = r.Lease, r.Value
	}
	value, err = proto.Marshal(kv)
	return appendRevision(make([]byte, 0, maxRevisionBytes), e.Revision, e.Sub, deleted), value, err
}

// parseChange undoes changeRow.
func parseChange(k, v []byte) (*storage.Event, error) {
	revision, sub, deleted, err := parseRevision(k)
	if err != nil {
		return nil, err
	}
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(v, &kv); err != nil {
		return nil, fmt.Errorf("revision %d sub %d: %w", revision, sub, err)
	}
	e := &storage.Event{Type: storage.EventPut, Key: kv.Key, Revision: revision, Sub: sub}
	e.Record.ModRevision = revision
	if deleted {
		e.Type = storage.EventDelete
		return e, nil
	}
	e.Record = storage.Record{
		Kind: storage.KindBytes, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version,
		Lease: kv.Lease, Value: kv.Value,
	}
	return e, nil
}

// The fields of etcd's Lease message: times in seconds. What remains is written only if it is known.
const (
	leaseID        = 1
	leaseTTL       = 2
	leaseRemaining = 3
)

func leaseRow(l *storage.Lease) (key, value []byte) {
	value = protowire.AppendTag(value, leaseID, protowire.VarintType)
	value = protowire.AppendVarint(value, uint64(l.ID))
	value = protowire.AppendTag(value, leaseTTL, protowire.VarintType)
	value = protowire.AppendVarint(value, wholeSeconds(l.TTLMillis))
	if l.RemainingMillis > 0 {
		value = protowire.AppendTag(value, leaseRemaining, protowire.VarintType)
		value = protowire.AppendVarint(value, wholeSeconds(l.RemainingMillis))
	}
	return number(uint64(l.ID)), value
}

func wholeSeconds(millis int64) uint64 { return uint64((millis + 999) / 1000) }

// leaseTTLMax is etcd's own limit, in seconds.
const leaseTTLMax = 9_000_000_000

// parseLease undoes leaseRow.
func parseLease(k, v []byte) (storage.Lease, error) {
	var ttl, remaining uint64
	for len(v) > 0 {
		field, kind, n := protowire.ConsumeTag(v)
		if n < 0 {
			return storage.Lease{}, protowire.ParseError(n)
		}
		v = v[n:]
		switch {
		case field == leaseTTL && kind == protowire.VarintType:
			ttl, n = protowire.ConsumeVarint(v)
		case field == leaseRemaining && kind == protowire.VarintType:
			remaining, n = protowire.ConsumeVarint(v)
		default:
			n = protowire.ConsumeFieldValue(field, kind, v)
		}
		if n < 0 {
			return storage.Lease{}, protowire.ParseError(n)
		}
		v = v[n:]
	}
	id, err := parseNumber(k)
	if err == nil && (ttl == 0 || ttl > leaseTTLMax) {
		err = fmt.Errorf("lease %016x has a TTL of %d s", id, ttl)
	}
	return storage.Lease{ID: int64(id), TTLMillis: int64(ttl) * 1000, RemainingMillis: int64(min(remaining, ttl)) * 1000}, err
}

func userRow(u *corepb.User) (key, value []byte, err error) {
	user := &authpb.User{Name: []byte(u.Name), Password: u.Password, Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.NoPassword}}
	value, err = proto.Marshal(user)
	return user.Name, value, err
}

// parseUser undoes userRow.
func parseUser(v []byte) (*corepb.User, error) {
	var u authpb.User
	if err := proto.Unmarshal(v, &u); err != nil {
		return nil, err
	}
	return &corepb.User{Name: string(u.Name), Password: u.Password, NoPassword: u.Options.GetNoPassword(), Roles: u.Roles}, nil
}

func roleRow(r *corepb.Role) (key, value []byte, err error) {
	role := &authpb.Role{Name: []byte(r.Name)}
	for _, p := range r.Permissions {
		role.KeyPermission = append(role.KeyPermission, &authpb.Permission{
			PermType: authpb.Permission_Type(p.Type), Key: p.Key, RangeEnd: p.End, // the types' numbers are the same
		})
	}
	value, err = proto.Marshal(role)
	return role.Name, value, err
}

// parseRole undoes roleRow.
func parseRole(v []byte) (*corepb.Role, error) {
	var r authpb.Role
	if err := proto.Unmarshal(v, &r); err != nil {
		return nil, err
	}
	role := &corepb.Role{Name: string(r.Name)}
	for _, p := range r.KeyPermission {
		if _, known := corepb.Permission_Type_name[int32(p.PermType)]; !known {
			return nil, fmt.Errorf("role %q has a permission of type %d", r.Name, p.PermType)
		}
		role.Permissions = append(role.Permissions, &corepb.Permission{Type: corepb.Permission_Type(p.PermType), Key: p.Key, End: p.RangeEnd})
	}
	return role, nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errors.New("a number has 8 bytes")
	}
	return binary.BigEndian.Uint64(b), nil
}

// The compacted revisions are written as the key of a row is.

func compactedAt(revision int64) []byte { return appendRevision(nil, revision, 0, false) }
