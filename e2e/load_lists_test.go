package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Queues: Redis clients at every place push to the end of lists, take from the front, wait at empty ones, and look.

func (f *faults) listLoad(slots []*slot) {
	var values atomic.Int64
	for place := range f.places {
		for _, kind := range []string{"push", "pop"} {
			f.work(fmt.Sprintf("redis@%d %s", place, kind), func(ctx context.Context, rng *rand.Rand, w *hand) {
				client := bareRedis(f.addresses[place].resp)
				defer client.Close()
				for w.next(ctx, f.pace()) {
					s := slots[rng.IntN(len(slots))]
					u := s.take()
					in := listInput{deed: "length"}
					switch n := rng.IntN(10); {
					case n < 8 && kind == "push":
						in = listInput{"push", fmt.Sprintf("e%d", values.Add(1))}
					case n < 8:
						in = listInput{deed: "pop"}
					case n == 8:
						in = listInput{deed: "range"}
					}
					call := now()
					out, fate, err := listOp(client, u.key, in, rng)
					u.add(w.name, call, in, out, fate)
					w.count(fate, err)
					s.give(u)
				}
			})
		}
	}
}

// listOp carries out one operation on a list.
func listOp(client *redis.Client, key string, in listInput, rng *rand.Rand) (out listOutput, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	switch in.deed {
	case "push":
		if rng.IntN(3) == 0 { // within MULTI, which nothing may come into
			var length, again *redis.IntCmd
			_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
				length = p.RPush(ctx, key, in.value)
				again = p.LLen(ctx, key)
				return nil
			})
			if out.length = length.Val(); err == nil && again.Val() != out.length {
				return out, unknown, fmt.Errorf("one MULTI pushed to a length of %d and saw a length of %d", out.length, again.Val())
			}
		} else {
			out.length, err = client.RPush(ctx, key, in.value).Result()
		}
	case "pop":
		if rng.IntN(4) == 0 {
			var pair []string
			pair, err = client.Do(ctx, "blpop", key, "0.1").StringSlice() // the library's own waits a second or more
			if errors.Is(err, redis.Nil) {
				return out, refused, nil // it waited in vain: that says nothing of any one moment
			}
			if err == nil {
				out.value = pair[1]
			}
		} else {
			out.value, err = client.LPop(ctx, key).Result()
		}
		if errors.Is(err, redis.Nil) {
			err = nil
		}
	case "range":
		var values []string
		values, err = client.LRange(ctx, key, 0, -1).Result()
		out.values = strings.Join(values, " ")
	case "length":
		out.length, err = client.LLen(ctx, key).Result()
	}
	if err == nil {
		return out, done, nil
	}
	f = redisFate(err)
	if in.deed == "range" || in.deed == "length" {
		f = refused
	}
	return listOutput{unknown: true}, f, err
}
