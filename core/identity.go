package core

import (
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// identity says which member of which cluster a data directory belongs to. It is made once, before the log, and written
// to a file of its own, because log and state are both found by it. It also holds what the node was started with, so that
// a crash before the log has its first entry changes nothing.
type identity struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Member  uint64 `json:"member_id"`
	Cluster uint64 `json:"cluster_id"`
	Token   string `json:"cluster_token"`
	// LogDir is where the log is kept, if not in the data directory.
	LogDir string `json:"log_dir,omitempty"`
	// Joins says that the cluster was there before this member: it has no first entry of its own to write.
	Joins bool `json:"joins,omitempty"`
	// Members are those of the beginning: the first ones of a new cluster, or those that were there when this one joined.
	Members []identityMember `json:"members"` // by id
}

type identityMember struct {
	ID       uint64   `json:"id"`
	Name     string   `json:"name"`
	PeerURLs []string `json:"peer_urls"`
	Learner  bool     `json:"learner,omitempty"`
}

// identityFormat is the layout of a data directory that this version knows.
const identityFormat = 2

// clusterTokenDefault is mixed into the ids of a new cluster when no token is given.
const clusterTokenDefault = "triglot"

const identityFile = "member.json"

// readIdentity reads the identity of a data directory; os.ErrNotExist when there is none.
func readIdentity(fs vfs.FS, dir string) (identity, error) {
	path := fs.PathJoin(dir, identityFile)
	text, err := readFile(fs, path)
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(text, &id); err != nil {
		return identity{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	switch {
	case id.Format > identityFormat:
		return identity{}, fmt.Errorf("data directory %s was written by a newer version of triglot (format %d, this version knows %d)",
			dir, id.Format, identityFormat)
	case id.Format < identityFormat:
		return identity{}, fmt.Errorf("data directory %s was written by an older version of triglot (format %d, this version knows %d)",
			dir, id.Format, identityFormat)
	case id.Member == 0 || id.Cluster == 0:
		return identity{}, fmt.Errorf("%s is damaged: it names no member or no cluster", path)
	}
	return id, nil
}

// checkIdentity says why a node with this configuration must not use a data directory.
func checkIdentity(cfg *Config, id *identity) error {
	if cfg.Name != "" && cfg.Name != id.Name {
		return fmt.Errorf("data directory %s belongs to the member %q, and this is %q: start it under its name, or with another directory",
			cfg.Dir, id.Name, cfg.Name)
	}
	if cfg.ClusterToken != "" && cfg.ClusterToken != id.Token {
		return fmt.Errorf("data directory %s belongs to a cluster with the token %q, and this one's is %q: use another directory for another cluster",
			cfg.Dir, id.Token, cfg.ClusterToken)
	}
	return nil
}

func (id *identity) members() []Member {
	members := make([]Member, len(id.Members))
	for i, m := range id.Members {
		members[i] = Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.Learner}
	}
	return members
}

func identityMembers(members []Member) []identityMember {
	out := make([]identityMember, len(members))
	for i, m := range members {
		out[i] = identityMember{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.Learner}
	}
	slices.SortFunc(out, func(a, b identityMember) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// memberID makes a member's id of its addresses and the cluster's token, as etcd does: the first members of a cluster come
// to the same ids without asking each other. One that is added later has the time mixed in, so that its id is new even
// where another member was before it; 0 for the first ones.
func memberID(peerURLs []string, token string, nowMillis int64) uint64 {
	text := strings.Join(slices.Sorted(slices.Values(peerURLs)), "") + token
	if nowMillis != 0 {
		text += strconv.FormatInt(nowMillis, 10)
	}
	return idOf([]byte(text))
}

// clusterID makes a cluster's id of those of its first members.
func clusterID(members []uint64) uint64 {
	var text []byte
	for _, id := range slices.Sorted(slices.Values(members)) {
		text = binary.BigEndian.AppendUint64(text, id)
	}
	return idOf(text)
}

// idOf hashes to a number that raft takes as an id: it keeps the ends of the range for itself.
func idOf(text []byte) uint64 {
	for {
		sum := sha1.Sum(text)
		if id := binary.BigEndian.Uint64(sum[:]); id != 0 && id < math.MaxUint64-15 {
			return id
		}
		text = sum[:]
	}
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// writeIdentity writes an identity in this version's format. It is atomic: after a crash there is the whole file or none.
func writeIdentity(fs vfs.FS, dir string, id identity) error {
	path := fs.PathJoin(dir, identityFile)
	id.Format = identityFormat
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return err
	}
	parent, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

func noIdentity(err error) bool { return errors.Is(err, os.ErrNotExist) }

// IsMember says whether a data directory has been made a member's: it knows which member of which cluster it is of.
func IsMember(dir string) (bool, error) {
	_, err := readIdentity(vfs.Default, dir)
	if noIdentity(err) {
		return false, nil
	}
	return err == nil, err
}

// FirstMemberID is the id of one of the first members of a cluster, made of its addresses and the cluster's token.
func FirstMemberID(peerURLs []string, token string) uint64 { return memberID(peerURLs, token, 0) }
