package e2e

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// etcdKeys is a key client on etcd's API, without the library and its retries.
type etcdKeys struct {
	conn *grpc.ClientConn
	kv   pb.KVClient
}

func newEtcdKeys(t testing.TB, address string) *etcdKeys {
	conn := dialEtcd(t, address)
	return &etcdKeys{conn, pb.NewKVClient(conn)}
}

func (c *etcdKeys) close() { c.conn.Close() }

func (c *etcdKeys) deeds() []deed {
	return []deed{doRead, doRead, doPut, doCreate, doSwap, doVersion, doDelete}
}

// sightOf is what a range shows of one key.
func sightOf(kvs []*mvccpb.KeyValue) sight {
	if len(kvs) == 0 {
		return sight{shown: true}
	}
	kv := kvs[0]
	return sight{shown: true, present: true, hasValue: true, value: string(kv.Value), version: kv.Version, revision: kv.ModRevision}
}

func (c *etcdKeys) do(key string, in keyInput) (out keyOutput, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	defer func() {
		if err != nil {
			out, f = unclear(in, etcdFate(err))
		}
	}()
	get := &pb.RangeRequest{Key: []byte(key)}
	put := &pb.PutRequest{Key: []byte(key), Value: []byte(in.value)}
	compare := &pb.Compare{Key: []byte(key), Result: pb.Compare_EQUAL}
	switch in.deed {
	case doRead:
		r, err := c.kv.Range(ctx, get)
		if err != nil {
			return out, f, err
		}
		return keyOutput{took: true, after: sightOf(r.Kvs)}, done, nil
	case doPut:
		put.PrevKv = true
		r, err := c.kv.Put(ctx, put)
		if err != nil {
			return out, f, err
		}
		out = keyOutput{took: true, before: sight{shown: true}, after: wrote(r.Header.Revision)}
		if r.PrevKv != nil {
			out.before = sightOf([]*mvccpb.KeyValue{r.PrevKv})
		}
		return out, done, nil
	case doDelete:
		r, err := c.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key), PrevKv: true})
		if err != nil {
			return out, f, err
		}
		return keyOutput{took: r.Deleted == 1, before: sightOf(r.PrevKvs)}, done, nil
	case doCreate:
		compare.Target, compare.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: 0}
	case doSwap:
		compare.Target, compare.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(in.expect)}
	case doVersion:
		compare.Target, compare.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: in.version}
	}
	r, err := c.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: get}}},
	})
	if err != nil {
		return out, f, err
	}
	if r.Succeeded {
		return keyOutput{took: true, after: wrote(r.Header.Revision)}, done, nil
	}
	return keyOutput{after: sightOf(r.Responses[0].GetResponseRange().Kvs)}, done, nil
}

// wrote is what a write shows of its key that tells nothing but the revision.
func wrote(revision int64) sight { return sight{shown: true, present: true, revision: revision} }
