package resp

import (
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// The ops that more than one file builds.

func getOp(space uint32, key []byte) *corepb.Op { return getKindOp(space, key, storage.KindNone) }

// getKindOp reads a key that must be of a kind, or absent.
func getKindOp(space uint32, key []byte, kind storage.Kind) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Get{Get: &corepb.Get{Space: space, Key: key, RequireKind: uint32(kind)}}}
}

func putOp(put *corepb.Put) *corepb.Op { return &corepb.Op{Op: &corepb.Op_Put{Put: put}} }

func deleteOp(del *corepb.Delete) *corepb.Op { return &corepb.Op{Op: &corepb.Op_Delete{Delete: del}} }

func expireOp(expire *corepb.Expire) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Expire{Expire: expire}}
}

func addOp(add *corepb.Add) *corepb.Op { return &corepb.Op{Op: &corepb.Op_Add{Add: add}} }

func transferOp(t *corepb.Transfer) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Transfer{Transfer: t}}
}

// ifKind runs ops when a key is of a kind, and a check that answers WRONGTYPE unless it is absent otherwise. It is for
// commands of several ops, of which none must run when the first fails.
func ifKind(space uint32, key []byte, kind storage.Kind, ops ...*corepb.Op) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Txn{Txn: &corepb.Txn{
		Guards: []*corepb.Guard{{
			Space: space, Key: key, Target: corepb.Guard_KIND, Comparison: corepb.Guard_EQUAL, Number: int64(kind),
			AnyKind: true,
		}},
		Then:      ops,
		Otherwise: []*corepb.Op{getKindOp(space, key, kind)},
	}}}
}
