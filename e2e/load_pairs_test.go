package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Pairs: two keys that are only ever written together, in one transaction of any protocol, and read together. To whoever
// reads they are one register: who finds two values has seen half of a transaction.

// pairClient writes and reads the two keys of a pair in one transaction.
type pairClient interface {
	// write sets both keys. took is false where a protocol cannot write keys that are absent.
	write(a, b, value string) (took bool, f fate, err error)
	// read gives what both keys hold; empty: absent.
	read(a, b string) (values [2]string, err error)
	close()
}

func (f *faults) pairLoad(slots []*slot) {
	var values atomic.Int64
	for place := range f.places {
		at := f.addresses[place]
		for name, client := range map[string]pairClient{
			"etcd": &etcdPairs{newEtcdKeys(f.t, at.etcd)}, "redis": &redisPairs{bareRedis(at.resp)}, "zk": &zkPairs{newZKKeys(at.zk)},
		} {
			f.work(fmt.Sprintf("%s@%d pair", name, place), func(ctx context.Context, rng *rand.Rand, w *hand) {
				defer client.close()
				for w.next(ctx, f.pace()*2) {
					s := slots[rng.IntN(len(slots))]
					u := s.take()
					f.pairOnce(w, u, client, rng, &values)
					s.give(u)
				}
			})
		}
	}
}

func (f *faults) pairOnce(w *hand, u *use, client pairClient, rng *rand.Rand, values *atomic.Int64) {
	a, b := u.key+"a", u.key+"b"
	call := now()
	if rng.IntN(2) == 0 {
		both, err := client.read(a, b)
		if err != nil {
			w.count(refused, err)
			return
		}
		if both[0] != both[1] {
			f.violated("%s read %q and %q, which are only written together\n%s", w.name, both[0], both[1], u)
		}
		seen := sight{shown: true, present: both[0] != "", hasValue: both[0] != "", value: both[0]}
		u.add(w.name, call, read, keyOutput{took: true, after: seen}, done)
		w.count(done, nil)
		return
	}
	in := putOf(fmt.Sprintf("p%d", values.Add(1)))
	if w.protocol() == "zk" {
		in.deed = doSet
	}
	took, known, err := client.write(a, b, in.value)
	u.add(w.name, call, in, keyOutput{unknown: known == unknown, took: took}, known)
	w.count(known, err)
}

type etcdPairs struct{ *etcdKeys }

func (c *etcdPairs) write(a, b, value string) (took bool, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	request := &pb.TxnRequest{}
	for _, key := range []string{a, b} {
		put := &pb.PutRequest{Key: []byte(key), Value: []byte(value)}
		request.Success = append(request.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	}
	if _, err = c.kv.Txn(ctx, request); err != nil {
		return false, etcdFate(err), err
	}
	return true, done, nil
}

func (c *etcdPairs) read(a, b string) (values [2]string, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	request := &pb.TxnRequest{}
	for _, key := range []string{a, b} {
		get := &pb.RangeRequest{Key: []byte(key)}
		request.Success = append(request.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: get}})
	}
	r, err := c.kv.Txn(ctx, request)
	if err != nil {
		return values, err
	}
	for i := range values {
		values[i] = sightOf(r.Responses[i].GetResponseRange().Kvs).value
	}
	return values, nil
}

type redisPairs struct{ client *redis.Client }

func (c *redisPairs) close() { c.client.Close() }

func (c *redisPairs) write(a, b, value string) (took bool, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	_, err = c.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, a, value, 0)
		p.Set(ctx, b, value, 0)
		return nil
	})
	if err != nil {
		return false, redisFate(err), err
	}
	return true, done, nil
}

func (c *redisPairs) read(a, b string) (values [2]string, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	var got [2]*redis.StringCmd
	_, err = c.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		got = [2]*redis.StringCmd{p.Get(ctx, a), p.Get(ctx, b)}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return values, err
	}
	return [2]string{got[0].Val(), got[1].Val()}, nil
}

type zkPairs struct{ *zkKeys }

// multi asks for two items of one kind, of which it gives the bodies.
func (c *zkPairs) multi(op string, item int32, bodies [2]*juteWriter) (*juteReader, error) {
	if c.gone {
		c.renew()
	}
	w := &juteWriter{}
	for _, body := range bodies {
		w.int(item)
		w.bool(false)
		w.int(-1)
		w.b = append(w.b, body.b...)
	}
	w.int(-1)
	w.bool(true)
	w.int(-1)
	return c.ask(zkOps[op], w)
}

func (c *zkPairs) write(a, b, value string) (took bool, f fate, err error) {
	var bodies [2]*juteWriter
	for i, key := range []string{a, b} {
		bodies[i] = &juteWriter{}
		bodies[i].text(key)
		bodies[i].text(value)
		bodies[i].int(-1)
	}
	r, err := c.multi("multi", zkOps["set"], bodies)
	if errors.Is(err, zkNoNode) {
		return false, done, nil
	}
	if err != nil {
		return false, zkFate(err), err
	}
	return r.int() == zkOps["set"], done, nil
}

func (c *zkPairs) read(a, b string) (values [2]string, err error) {
	if c.gone {
		c.renew()
	}
	var bodies [2]*juteWriter
	for i, key := range []string{a, b} {
		bodies[i] = &juteWriter{}
		bodies[i].text(key)
		bodies[i].bool(false)
	}
	path := &juteWriter{}
	path.text(a)
	if _, err := c.ask(zkOps["sync"], path); err != nil {
		return values, err
	}
	r, err := c.multi("multiread", zkOps["get"], bodies)
	if err != nil {
		return values, err
	}
	for i := range values {
		kind := r.int()
		r.bool()
		r.int()
		if kind == zkOps["get"] {
			values[i] = r.text()
			statSight(r)
			r.take(4 + 4 + 8 + 4 + 4 + 8) // the rest of the Stat
		} else {
			r.int() // the error
		}
	}
	if r.broken {
		return values, fmt.Errorf("the answer to a multiread is too short")
	}
	return values, nil
}
