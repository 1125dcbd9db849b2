package e2e

var redisKeyCases = []redisCase{
	{"DEL, UNLINK, EXISTS, TOUCH and TYPE", `
		MSET a 1 b 2 c 3
		RPUSH l x
		HSET h f v
		EXISTS a b l h none
		EXISTS a a a
		TOUCH a a none l
		TYPE a
		TYPE l
		TYPE h
		TYPE none
		DEL a none l
		DEL a
		UNLINK b c none
		DEL h h
		DBSIZE
		DEL
		UNLINK
		EXISTS
		TOUCH
		TYPE
		TYPE a b
	`},
	{"the EXPIRE family", `
		EXPIRE none 100
		TTL none
		PTTL none
		EXPIRETIME none
		PEXPIRETIME none
		PERSIST none
		SET k v
		TTL k
		PTTL k
		EXPIRETIME k
		PEXPIRETIME k
		PERSIST k
		EXPIRE k 100
		@near TTL k
		@near PTTL k
		@near EXPIRETIME k
		PEXPIRE k 200000
		@near PTTL k
		EXPIREAT k 33177117420
		EXPIRETIME k
		PEXPIRETIME k
		PEXPIREAT k 33177117420123
		PEXPIRETIME k
		EXPIRETIME k
		@near TTL k
		PERSIST k
		PERSIST k
		TTL k
		EXPIRE k abc
		EXPIRE k 1.5
		EXPIRE k ""
		EXPIRE none abc
		EXPIRE k 9223372036854775807
		EXPIRE k -9223372036854775808
		EXPIRE k 9223372036854775
		EXPIRE k 9223372036854776
		EXPIREAT k 9223372036854775807
		EXPIREAT k 9223372036854776
		PEXPIRE k 9223372036854775807
		PEXPIRE k -9223372036854775808
		PEXPIREAT k 9223372036854775807
		PEXPIRETIME k
		EXPIRETIME k
		EXPIRE none 9223372036854775807
		EXPIRE k
		EXPIRE
		TTL
		PERSIST
		EXPIRE k 0
		EXISTS k
		SET k v
		EXPIRE k -1
		EXISTS k
		SET k v
		EXPIREAT k 1
		EXISTS k
		SET k v
		PEXPIREAT k 0
		EXISTS k
		SET k v
		PEXPIREAT k -5
		EXISTS k
		RPUSH l x
		EXPIRE l 100
		@near TTL l
		RPUSH l y
		@near TTL l
		HSET h f v
		PEXPIRE h 1
		.until ":0\r\n" EXISTS h
		TTL h
		TYPE h
	`},
	{"conditions of EXPIRE", `
		SET k v
		EXPIREAT k 33177117420 XX
		TTL k
		EXPIREAT k 33177117420 GT
		TTL k
		EXPIREAT k 33177117420 LT
		EXPIRETIME k
		EXPIREAT k 33177117420 NX
		EXPIREAT k 33177117421 NX
		EXPIREAT k 33177117421 XX
		EXPIRETIME k
		EXPIREAT k 33177117421 GT
		EXPIREAT k 33177117421 LT
		EXPIREAT k 33177117420 GT
		EXPIREAT k 33177117422 GT
		EXPIREAT k 33177117423 LT
		EXPIREAT k 33177117421 LT
		EXPIRETIME k
		EXPIREAT k 33177117425 XX GT
		EXPIREAT k 33177117424 XX LT
		EXPIRETIME k
		EXPIREAT k 33177117425 gt
		EXPIREAT k 33177117425 NX XX
		EXPIREAT k 33177117425 NX GT
		EXPIREAT k 33177117425 NX LT
		EXPIREAT k 33177117425 GT LT
		EXPIREAT k 33177117425 FOO
		EXPIREAT k 33177117425 XX FOO
		EXPIREAT k 33177117425 XX XX
		EXPIREAT k abc FOO
		EXPIREAT none 33177117425 NX XX
		EXPIREAT none 33177117425 FOO
		EXPIREAT none 33177117425 NX
		PEXPIREAT k 1 GT
		EXISTS k
		PEXPIREAT k 1 NX
		EXISTS k
		PEXPIREAT k 1 LT
		EXISTS k
		SET k v
		EXPIRE k 100 NX
		EXPIRE k 200 GT
		@near TTL k
		EXPIRE k 100 GT
		PEXPIRE k 100000 LT
		@near TTL k
		SET k v
		EXPIRE k -1 GT
		EXISTS k
		EXPIRE k -1 XX
		EXISTS k
		EXPIRE k -1 LT
		EXISTS k
	`},
	{"KEYS and patterns", `
		MSET one 1 two 2 three 3 four 4 h*llo 5 hello 6 hallo 7 hxllo 8 "h\\llo" 9 "[x]" 10 "" 11
		@sorted KEYS *
		@sorted KEYS t*
		@sorted KEYS *o*
		@sorted KEYS h?llo
		@sorted KEYS h[ae]llo
		@sorted KEYS h[^e]llo
		@sorted KEYS h[a-f]llo
		@sorted KEYS h[f-a]llo
		@sorted KEYS "h\\*llo"
		@sorted KEYS "h\\\\llo"
		@sorted KEYS "\\[x\\]"
		@sorted KEYS "[[]x]"
		@sorted KEYS "[x"
		@sorted KEYS "h[a"
		@sorted KEYS "h["
		@sorted KEYS "h[]llo"
		@sorted KEYS "h[^]llo"
		@sorted KEYS "h[a-]llo"
		@sorted KEYS "hello\\"
		@sorted KEYS "**"
		@page SCAN 0 COUNT 100 MATCH *
		@page SCAN 0 COUNT 100 MATCH **
		@page SCAN 0 COUNT 100 MATCH ""
		@sorted KEYS "***e*"
		@sorted KEYS ?
		@sorted KEYS ???
		@sorted KEYS ""
		@sorted KEYS HELLO
		KEYS
		KEYS a b
	`},
	{"SCAN in one page", `
		MSET a1 1 a2 2 b1 3
		RPUSH l x
		HSET h f v
		@page SCAN 0 COUNT 1000
		@page SCAN 0 MATCH a* COUNT 1000
		@page SCAN 0 COUNT 1000 MATCH *1
		@page SCAN 0 COUNT 1000 TYPE string
		@page SCAN 0 COUNT 1000 TYPE LIST
		@page SCAN 0 COUNT 1000 TYPE hash MATCH h*
		@page SCAN 0 COUNT 1000 TYPE zset
		@page SCAN 0 COUNT 1000 TYPE nonsense
		@page SCAN 0 MATCH a* MATCH b* COUNT 1000
		@page SCAN 0 COUNT 5 COUNT 1000
		@page SCAN 0 count 1000 match *
		SCAN
		SCAN abc
		SCAN -1x
		@page SCAN "" COUNT 100
		@page SCAN +0 COUNT 100
		@page SCAN -0 COUNT 100
		@page SCAN 00 COUNT 100
		SCAN 0x10
		SCAN " 0"
		SCAN 1.5
		SCAN 99999999999999999999
		SCAN 0 COUNT
		SCAN 0 COUNT 0
		SCAN 0 COUNT -1
		SCAN 0 COUNT abc
		SCAN 0 MATCH
		SCAN 0 TYPE
		SCAN 0 FOO
		SCAN 0 FOO bar
		SCAN 0 COUNT abc FOO
		SCAN abc FOO
	`},
	{"SCAN in many pages", `
		MSET a1 1 a2 2 a3 3 a4 4 b1 1 b2 2 b3 3 b4 4 c1 1 c2 2 c3 3 c4 4 d1 1 d2 2 d3 3 d4 4
		RPUSH l x
		HSET h a 1 b 2 c 3 d 4
		.walk SCAN 0
		.walk SCAN 0 COUNT 1
		.walk SCAN 0 COUNT 3 MATCH a*
		.walk SCAN 0 COUNT 2 TYPE list
		.walk SCAN 0 COUNT 2 MATCH none
		SELECT 1
		.walk SCAN 0
		SET x y
		.walk SCAN 0 COUNT 1
		SELECT 0
		.walk HSCAN h 0 COUNT 1
		.walk HSCAN h 0 COUNT 2 MATCH [ab]
	`},
	{"RENAME", `
		RENAME none x
		RENAME none none
		SET a 1 EX 100
		RENAME a b
		EXISTS a
		GET b
		@near TTL b
		SET c 2
		RENAME b c
		GET c
		@near TTL c
		RENAME c c
		GET c
		RPUSH l x y
		RENAME l c
		LRANGE c 0 -1
		TTL c
		HSET h f v
		RENAME h h2
		HGETALL h2
		RENAMENX none x
		RENAMENX c h2
		RENAMENX c d
		RENAMENX d d
		LRANGE d 0 -1
		RENAME a
		RENAMENX a
	`},
	{"COPY", `
		COPY none x
		SET a 1 EX 100
		COPY a b
		GET b
		@near TTL b
		COPY a b
		SET c 3
		COPY c b REPLACE
		GET b
		TTL b
		COPY a a
		COPY a a REPLACE
		COPY a a DB 0
		COPY a a DB 1
		COPY a a DB 1
		COPY a a DB 1 REPLACE
		COPY a z DB 2 REPLACE
		COPY a z REPLACE DB 2
		COPY a b DB
		COPY a b DB abc
		COPY a b DB 16
		COPY a b DB 2147483648
		COPY a b DB 99999999999999999999
		COPY a b DB -1
		COPY a b FOO
		COPY a b REPLACE FOO
		COPY a b DB 1 DB 2
		COPY none x DB 16
		COPY none none
		RPUSH l x y
		COPY l l2
		RPUSH l2 z
		LRANGE l 0 -1
		LRANGE l2 0 -1
		HSET h f v
		COPY h h2
		HSET h2 f w
		HGET h f
		COPY h l REPLACE
		TYPE l
		SELECT 1
		@near TTL a
		SELECT 2
		GET z
		@near TTL z
		COPY a
	`},
	{"MOVE", `
		MOVE none 1
		SET a 1 EX 100
		MOVE a 0
		MOVE none 0
		MOVE a 1
		EXISTS a
		SELECT 1
		GET a
		@near TTL a
		SELECT 0
		SET a 2
		MOVE a 1
		GET a
		MOVE a 16
		MOVE a -1
		MOVE a abc
		MOVE a 2147483648
		MOVE a 99999999999999999999
		MOVE none 16
		MOVE a
		RPUSH l x y
		MOVE l 15
		SELECT 15
		LRANGE l 0 -1
		DBSIZE
	`},
	{"databases", `
		SELECT 0
		SELECT 15
		SET k v
		SELECT 16
		SELECT -1
		SELECT abc
		SELECT ""
		SELECT 1.5
		SELECT 99999999999999999999
		SELECT 2147483648
		SELECT
		SELECT 1 2
		GET k
		DBSIZE
		SELECT 3
		DBSIZE
		GET k
		SET k w
		FLUSHDB
		DBSIZE
		SET k w
		SELECT 15
		FLUSHDB ASYNC
		FLUSHDB SYNC
		FLUSHDB FOO
		FLUSHDB SYNC ASYNC
		DBSIZE
		FLUSHALL FOO
		FLUSHALL SYNC
		SELECT 3
		DBSIZE
		FLUSHALL async
		DBSIZE 1
	`},
	{"RANDOMKEY", `
		RANDOMKEY
		SET only v
		RANDOMKEY
		SELECT 1
		RANDOMKEY
		RANDOMKEY x
	`},
	{"OBJECT", `
		SET int 123
		SET neg -5
		SET big 9223372036854775807
		SET bigger 9223372036854775808
		SET zero 007
		SET short abc
		SET empty ""
		SET len44 aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeee
		SET len45 aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeee
		HSET h f v
		HSET longfield aaaaaaaaaabbbbbbbbbbccccccccccddddddddddaaaaaaaaaabbbbbbbbbbccccc v
		HSET longvalue f aaaaaaaaaabbbbbbbbbbccccccccccddddddddddaaaaaaaaaabbbbbbbbbbccccc
		HSET len64 f aaaaaaaaaabbbbbbbbbbccccccccccddddddddddaaaaaaaaaabbbbbbbbbbcccc
		OBJECT ENCODING int
		OBJECT ENCODING neg
		OBJECT ENCODING big
		OBJECT ENCODING bigger
		OBJECT ENCODING zero
		OBJECT ENCODING short
		OBJECT ENCODING empty
		OBJECT ENCODING len44
		OBJECT ENCODING len45
		OBJECT ENCODING h
		OBJECT ENCODING len64
		OBJECT ENCODING none
		object encoding short
		@shape OBJECT REFCOUNT short
		OBJECT REFCOUNT none
		@near OBJECT IDLETIME short
		OBJECT IDLETIME none
		OBJECT FREQ short
		OBJECT FREQ none
		OBJECT
		OBJECT FOO
		OBJECT FOO bar
		OBJECT ENCODING
		OBJECT ENCODING a b
		OBJECT HELP x
	`},
}
