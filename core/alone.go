package core

import (
	"errors"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
)

// A member that goes on alone: Config.ForceNewCluster. The log is told to remove everybody else (raftlog/alone.go); the
// commands that say so are the ordinary ones, judged like any, so that members and the log's configuration stay one. The
// cluster keeps its id, and those who were removed are told so when they come back.

// alone are the commands.
func (s *Store) alone() (*raftlog.Alone, error) {
	if s.identity.Joins && len(s.Members()) == 0 {
		return nil, errors.New("a new cluster cannot be forced: this member has not been sent anything of its cluster yet, so there is nothing to go on with")
	}
	promote, err := oneOp(&corepb.Op{Op: &corepb.Op_MemberPromote{MemberPromote: &corepb.MemberPromote{Id: s.identity.Member}}}).MarshalVT()
	return &raftlog.Alone{Promote: promote, Remove: func(id uint64) []byte {
		remove := &corepb.Op{Op: &corepb.Op_MemberRemove{MemberRemove: &corepb.MemberRemove{Id: id}}}
		payload, _ := oneOp(remove).MarshalVT() // marshalling it cannot fail
		return payload
	}}, err
}
