package e2e

// redisTxnCases are transactions, and messages between clients.
var redisTxnCases = []redisCase{
	{"MULTI and EXEC", `
		MULTI
		SET a 1
		INCR a
		GET a
		SELECT 1
		SET b 2
		GET a
		PING
		ECHO hi
		EXEC
		GET b
		SELECT 0
		GET a
		EXEC
		DISCARD
		MULTI
		EXEC
		MULTI
		SET a 5
		DISCARD
		GET a
		MULTI
		MULTI
		SET a 6
		EXEC
		GET a
		MULTI
		WATCH a
		SET a 7
		EXEC
		GET a
	`},
	{"errors within MULTI", `
		MULTI
		SET a 1
		RPUSH a x
		INCR a
		LPOP a
		EXPIRE a abc
		SET a 2 FOO
		EXEC
		GET a
		MULTI
		SET a 3
		GET
		SET a 4
		EXEC
		GET a
		MULTI
		nonsense
		EXEC
		MULTI
		SET a 5
		nonsense
		DISCARD
		EXEC
		GET a
		MULTI
		CLIENT FOO
		EXEC
		MULTI
		CLIENT ID x
		EXEC
		MULTI
		SELECT 99
		SET a 6
		EXEC
		GET a
	`},
	{"transactions see their own writes", `
		MULTI
		SET a 1
		MSETNX a 2 b 3
		MSETNX c 2 d 3
		SETNX a 9
		RPUSH l a b c
		LMOVE l l2 LEFT RIGHT
		LRANGE l 0 -1
		LRANGE l2 0 -1
		RENAME l l3
		EXISTS l l2 l3
		GETDEL a
		GET a
		HSET h f 1
		HINCRBY h f 5
		COPY h h2
		HGETALL h2
		DBSIZE
		@sorted KEYS *
		EXPIREAT c 33177117420
		EXPIRETIME c
		PEXPIREAT c 1
		GET c
		RANDOMKEY
		FLUSHDB
		DBSIZE
		RANDOMKEY
		SET z 1
		FLUSHALL
		GET z
	`},
	{"blocking commands within MULTI", `
		MULTI
		BLPOP none 0
		BRPOP none 0
		BLMOVE none m LEFT RIGHT 0
		BRPOPLPUSH none m 0
		BLMPOP 0 1 none LEFT
		RPUSH l a b c
		BLPOP none l 0
		BLMOVE l m LEFT RIGHT 0
		BLMPOP 0 1 l LEFT
		BLPOP l abc
		EXEC
	`},
	{"WATCH", `
		SET k v
		WATCH k
		2: SET k w
		MULTI
		SET k x
		EXEC
		GET k
		MULTI
		SET k y
		EXEC
		GET k
		WATCH k
		MULTI
		SET k z
		EXEC
		WATCH k
		2: SET k w
		UNWATCH
		MULTI
		EXEC
		WATCH k
		2: SET k w
		MULTI
		DISCARD
		MULTI
		PING
		EXEC
		WATCH none
		2: SET none now
		MULTI
		PING
		EXEC
		WATCH k
		2: DEL k
		MULTI
		PING
		EXEC
		WATCH k
		2: DEL k
		MULTI
		PING
		EXEC
		RPUSH l a
		WATCH l
		2: RPUSH l b
		MULTI
		PING
		EXEC
		HSET h f v
		WATCH h
		2: HSET h f v
		MULTI
		PING
		EXEC
		WATCH h
		2: HDEL h none
		MULTI
		PING
		EXEC
		WATCH h
		2: EXPIRE h 100
		MULTI
		PING
		EXEC
		WATCH h
		2: PERSIST h
		MULTI
		PING
		EXEC
		SET k v
		WATCH k
		2: GET k
		2: TOUCH k
		2: GETEX k
		MULTI
		PING
		EXEC
		WATCH k
		2: SELECT 1
		2: SET k other
		MULTI
		PING
		EXEC
		WATCH k
		2: FLUSHDB
		MULTI
		PING
		EXEC
		WATCH k
		2: FLUSHALL
		MULTI
		PING
		EXEC
		SET k v
		WATCH k
		SET k w
		MULTI
		PING
		EXEC
		WATCH k other
		2: SELECT 0
		2: RENAME k other
		MULTI
		PING
		EXEC
		WATCH k k k
		MULTI
		UNWATCH
		EXEC
		WATCH k
		2: SET k new
		SELECT 3
		MULTI
		SET k v
		EXEC
		WATCH k
		2: SET k new
		MULTI
		SET k v
		EXEC
		WATCH k
		2: SET k new
		nonsense
		MULTI
		nonsense
		EXEC
		MULTI
		PING
		EXEC
		WATCH k
		2: SELECT 3
		2: PEXPIREAT k 1
		MULTI
		PING
		EXEC
	`},
	{"SUBSCRIBE and PUBLISH", `
		PUBLISH c nobody
		SUBSCRIBE c
		2: PUBLISH c hello
		.read
		2: PUBLISH c ""
		.read
		2: PUBLISH d unheard
		SUBSCRIBE c d
		.read
		2: @sorted PUBSUB CHANNELS
		2: @sorted PUBSUB CHANNELS *
		2: PUBSUB CHANNELS d*
		2: PUBSUB NUMSUB
		2: PUBSUB NUMSUB c d none
		2: PUBSUB NUMPAT
		PSUBSCRIBE c*
		2: PUBSUB NUMPAT
		2: PUBLISH c twice
		.read
		.read
		2: PUBLISH cc once
		.read
		UNSUBSCRIBE none
		UNSUBSCRIBE c
		2: PUBLISH c pattern
		.read
		PUNSUBSCRIBE none
		PUNSUBSCRIBE
		UNSUBSCRIBE
		2: PUBLISH d unheard
		GET k
		UNSUBSCRIBE
		PUNSUBSCRIBE
		UNSUBSCRIBE a b
		.read
		PUNSUBSCRIBE a b
		.read
		SUBSCRIBE x y x
		.read
		.read
		3: SUBSCRIBE x
		2: PUBLISH x both
		.read
		3: .read
		2: PUBSUB NUMSUB x
		2: PUBLISH
		2: MULTI
		2: PUBLISH x one
		2: PUBLISH x two
		2: EXEC
		.read
		.read
	`},
	{"a subscriber may do little else in RESP2", `
		SUBSCRIBE c
		PING
		PING hello
		GET k
		SET k v
		MULTI
		PUBLISH c x
		nonsense
		PUBSUB CHANNELS
		HELLO
		SELECT 1
		CLIENT ID x
		GET
		UNSUBSCRIBE
		GET k
	`},
	{"SUBSCRIBE within MULTI", `
		MULTI
		SUBSCRIBE c
		PING
		EXEC
		2: PUBLISH c x
		.read
	`},
	{"one's own messages", `
		@hello HELLO 3
		SUBSCRIBE c
		PUBLISH c self
		.read
		PSUBSCRIBE *
		PUBLISH c self
		.read
		.read
		GET k
		PING
	`},
}
