package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

// Registers and counters: clients of all protocols, at every place, on the same few keys.

// keyLoad makes workers that read, put, create, swap and delete.
func (f *faults) keyLoad(slots []*slot) {
	var values atomic.Int64
	for place := range f.places {
		for name, client := range f.keyClients(place) {
			f.work(fmt.Sprintf("%s@%d", name, place), func(ctx context.Context, rng *rand.Rand, w *hand) {
				defer client.close()
				deeds := client.deeds()
				var seen sight // the last, for swaps and versions; of whatever key: then it seldom fits, which is a case too
				for w.next(ctx, f.pace()) {
					s := slots[rng.IntN(len(slots))]
					in := keyInput{deed: deeds[rng.IntN(len(deeds))]}
					switch in.deed {
					case doSwap:
						in.expect = seen.value
					case doVersion:
						in.version = max(seen.version, 1)
					}
					if in.deed != doRead && in.deed != doDelete {
						in.value = fmt.Sprintf("v%d", values.Add(1))
					}
					u := s.take()
					out, known := f.keyOp(w, u, client, in)
					s.give(u)
					if known {
						for _, shown := range []sight{out.before, out.after} {
							if shown.shown && shown.hasValue {
								seen = shown
							}
						}
					}
				}
			})
		}
	}
}

// countLoad makes workers that add to counters: Redis with a command for it, the others with a read and a guarded write.
func (f *faults) countLoad(slots []*slot) {
	for place := range f.places {
		for name, client := range f.keyClients(place) {
			f.work(fmt.Sprintf("%s@%d", name, place), func(ctx context.Context, rng *rand.Rand, w *hand) {
				defer client.close()
				for w.next(ctx, f.pace()) {
					s := slots[rng.IntN(len(slots))]
					u := s.take()
					f.addOnce(w, u, client, name, rng)
					s.give(u)
				}
			})
		}
	}
}

func (f *faults) addOnce(w *hand, u *use, client keyClient, name string, rng *rand.Rand) {
	if name == "redis" && rng.IntN(4) > 0 {
		f.keyOp(w, u, client, keyInput{deed: doAdd, by: 1 + rng.Int64N(3)})
		return
	}
	out, known := f.keyOp(w, u, client, keyInput{deed: doRead})
	if !known || rng.IntN(4) == 0 {
		return
	}
	n := int64(0)
	in := keyInput{deed: doCreate}
	if out.after.present {
		n, _ = strconv.ParseInt(out.after.value, 10, 64)
		in = keyInput{deed: doVersion, version: out.after.version}
		if name == "redis" {
			in = keyInput{deed: doSwap, expect: out.after.value}
		}
	}
	in.value = strconv.FormatInt(n+1, 10)
	f.keyOp(w, u, client, in)
}

// keyOp carries out one operation and notes it. It says whether the output can be used.
func (f *faults) keyOp(w *hand, u *use, client keyClient, in keyInput) (keyOutput, bool) {
	call := now()
	out, fate, err := client.do(u.key, in)
	u.add(w.name, call, in, out, fate)
	w.count(fate, err)
	return out, fate == done
}

// keyClients are one client of each protocol at a place.
func (f *faults) keyClients(place int) map[string]keyClient {
	at := f.addresses[place]
	return map[string]keyClient{"etcd": newEtcdKeys(f.t, at.etcd), "redis": newRedisKeys(at.resp), "zk": newZKKeys(at.zk)}
}
