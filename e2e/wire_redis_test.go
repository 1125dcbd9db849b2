package e2e

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// redisKeys is a key client on Redis' protocol.
type redisKeys struct {
	client *redis.Client
}

// bareRedis connects with one connection and without retries.
func bareRedis(address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: address, MaxRetries: -1, DialerRetries: 1, PoolSize: 1, DialTimeout: opPatience, ReadTimeout: opPatience,
		WriteTimeout: opPatience, ContextTimeoutEnabled: true, DisableIdentity: true,
	})
}

func newRedisKeys(address string) *redisKeys { return &redisKeys{bareRedis(address)} }

func (c *redisKeys) close() { c.client.Close() }

func (c *redisKeys) deeds() []deed {
	return []deed{doRead, doRead, doPut, doSet, doCreate, doSwap, doDelete}
}

func (c *redisKeys) do(key string, in keyInput) (out keyOutput, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	failed := func(err error) (keyOutput, fate, error) {
		out, f := unclear(in, redisFate(err))
		return out, f, err
	}
	switch in.deed {
	case doRead:
		seen, err := c.get(ctx, c.client, key)
		if err != nil {
			return failed(err)
		}
		return keyOutput{took: true, after: seen}, done, nil
	case doPut, doSet, doCreate:
		args := redis.SetArgs{Get: true, Mode: map[deed]string{doSet: "XX", doCreate: "NX"}[in.deed]}
		before, err := c.client.SetArgs(ctx, key, in.value, args).Result()
		seen, err := redisSight(before, err)
		if err != nil {
			return failed(err)
		}
		took := in.deed == doPut || seen.present == (in.deed == doSet)
		return keyOutput{took: took, before: seen}, done, nil
	case doDelete:
		n, err := c.client.Del(ctx, key).Result()
		if err != nil {
			return failed(err)
		}
		return keyOutput{took: n == 1}, done, nil
	case doAdd:
		n, err := c.client.IncrBy(ctx, key, in.by).Result()
		if err != nil {
			return failed(err)
		}
		return keyOutput{took: true, after: sight{shown: true, present: true, hasValue: true, value: strconv.FormatInt(n, 10)}}, done, nil
	case doSwap:
		return c.swap(ctx, key, in)
	}
	panic("no such deed: " + in.deed)
}

func (c *redisKeys) get(ctx context.Context, client redis.Cmdable, key string) (sight, error) {
	return redisSight(client.Get(ctx, key).Result())
}

func redisSight(value string, err error) (sight, error) {
	if errors.Is(err, redis.Nil) {
		return sight{shown: true}, nil
	}
	return sight{shown: true, present: true, hasValue: true, value: value}, err
}

// errOtherValue ends a swap whose GET does not show the expected value.
var errOtherValue = errors.New("the value is another")

// swap is WATCH, GET, and SET in MULTI. Until EXEC is sent nothing can have happened. An EXEC that is refused because the
// key has changed since says that the value is another now, since no value comes back.
func (c *redisKeys) swap(ctx context.Context, key string, in keyInput) (out keyOutput, f fate, err error) {
	f = refused
	err = c.client.Watch(ctx, func(tx *redis.Tx) error {
		seen, err := c.get(ctx, tx, key)
		if err != nil {
			return err
		}
		if !seen.present || seen.value != in.expect {
			out = keyOutput{before: seen}
			return errOtherValue
		}
		f = unknown
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, key, in.value, 0)
			return nil
		})
		if err != nil && f == unknown {
			f = redisFate(err)
		}
		return err
	}, key)
	switch {
	case err == nil:
		return keyOutput{took: true}, done, nil
	case errors.Is(err, errOtherValue):
		return out, done, nil
	case errors.Is(err, redis.TxFailedErr):
		return keyOutput{}, done, nil
	}
	return keyOutput{unknown: true}, f, err
}
