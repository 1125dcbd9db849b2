package core

import "github.com/triglot/triglot/core/corepb"

// The quota of space. A member that is asked for growth beyond its quota raises the NOSPACE alarm; while the alarm stands
// for any member, what makes the state grow is refused on all of them, and what reads, deletes or compacts is not. An
// operator makes room, and clears it.
//
// A member's size is its own: replicas compact at different times. What is refused therefore depends on the alarm alone,
// which is part of the state. Whoever finds its size over the quota puts the alarm into the log before the commands that
// made it look, so that these are the first to be refused, by every replica alike.

// What a change is reckoned to take beside its key and value, as etcd reckons it.
const (
	growthPerKey   = 256
	growthPerLease = 64
)

// overQuota says whether commands would make the state larger than this member may be, and no alarm says so yet.
func (s *Store) overQuota(txns []*corepb.Txn) bool {
	if s.cfg.QuotaBytes <= 0 {
		return false
	}
	growth := int64(0)
	for _, txn := range txns {
		growth += growthOf(txn)
	}
	if growth == 0 || s.db.Size()+growth <= s.cfg.QuotaBytes {
		return false
	}
	for _, alarm := range s.Alarms() {
		if alarm == (Alarm{AlarmNoSpace, s.identity.Member}) {
			return false
		}
	}
	s.logger.Warn("out of space: the NOSPACE alarm is raised, and writes are refused until it is cleared",
		"size", s.db.Size(), "quota", s.cfg.QuotaBytes)
	return true
}

func (s *Store) noSpaceAlarm() *corepb.Txn {
	return oneOp(&corepb.Op{Op: &corepb.Op_Alarm{Alarm: &corepb.Alarm{Kind: AlarmNoSpace, Member: s.identity.Member, Raised: true}}})
}

// refuseGrowth is the one place that refuses commands while a member is out of space.
func (t *tx) refuseGrowth(txn *corepb.Txn) error {
	if t.b == nil || t.b.State().NoSpaceAlarms == 0 || growthOf(txn) == 0 {
		return nil
	}
	return ErrNoSpace
}

// growthOf says by how many bytes a command may make the state grow: 0 for one that cannot. Of two branches it is the one
// that takes more.
func growthOf(txn *corepb.Txn) int64 {
	return max(growthOfAll(txn.Then), growthOfAll(txn.Otherwise))
}

func growthOfAll(ops []*corepb.Op) (total int64) {
	for _, op := range ops {
		total += growthOfOp(op)
	}
	return total
}

func growthOfOp(op *corepb.Op) int64 {
	switch op := op.Op.(type) {
	case *corepb.Op_Put:
		return growth(op.Put.Key, op.Put.Value)
	case *corepb.Op_Transfer:
		if op.Transfer.Copy {
			return growth(op.Transfer.To)
		}
	case *corepb.Op_Append:
		return growth(op.Append.Key, op.Append.Value)
	case *corepb.Op_SetRange:
		return growth(op.SetRange.Key, op.SetRange.Value)
	case *corepb.Op_Add:
		return growth(op.Add.Key)
	case *corepb.Op_AddFloat:
		return growth(op.AddFloat.Key)
	case *corepb.Op_HashSet:
		return growth(op.HashSet.Key) + lengths(op.HashSet.Fields)
	case *corepb.Op_HashAdd:
		return growth(op.HashAdd.Key, op.HashAdd.Field)
	case *corepb.Op_HashAddFloat:
		return growth(op.HashAddFloat.Key, op.HashAddFloat.Field)
	case *corepb.Op_ListPush:
		return growth(op.ListPush.Key) + lengths(op.ListPush.Values)
	case *corepb.Op_ListSet:
		return growth(op.ListSet.Key, op.ListSet.Value)
	case *corepb.Op_ListInsert:
		return growth(op.ListInsert.Key, op.ListInsert.Value)
	case *corepb.Op_NodeCreate:
		return growthPerKey + int64(len(op.NodeCreate.Path)+len(op.NodeCreate.Data))
	case *corepb.Op_NodeSetData:
		return growthPerKey + int64(len(op.NodeSetData.Path)+len(op.NodeSetData.Data))
	case *corepb.Op_LeaseGrant:
		if len(op.LeaseGrant.Password) == 0 { // without a session a ZooKeeper client could delete nothing
			return growthPerLease
		}
	case *corepb.Op_Txn:
		return growthOf(op.Txn)
	}
	return 0
}

func growth(key []byte, values ...[]byte) int64 {
	return growthPerKey + int64(len(key)) + lengths(values)
}

func lengths(pieces [][]byte) (total int64) {
	for _, piece := range pieces {
		total += int64(len(piece))
	}
	return total
}
