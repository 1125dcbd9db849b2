package e2e

var redisCollectionCases = []redisCase{
	{"hashes", `
		HSET h a 1 b 2
		HSET h a 3 c 4
		HSET h a 1 a 2
		HGET h a
		HGET h none
		HGET none a
		HMSET h x 1 y 2
		HMGET h a x none
		HMGET none a b
		@pairs HGETALL h
		HGETALL none
		@sorted HKEYS h
		@sorted HVALS h
		HKEYS none
		HVALS none
		HLEN h
		HLEN none
		HEXISTS h a
		HEXISTS h none
		HEXISTS none a
		HSTRLEN h a
		HSTRLEN h none
		HSTRLEN none a
		HSETNX h a 9
		HSETNX h new 9
		HSETNX h2 new 9
		HDEL h a none
		HDEL h b b
		HDEL none a
		HDEL h c x y new
		EXISTS h
		HSET h "" ""
		HGET h ""
		HGETALL h
		HSET h f "\x00\xff\r\n"
		HGET h f
	`},
	{"hashes: wrong arity, wrong kind", `
		SET s v
		RPUSH l v
		HSET s f v
		HSET l f v
		HMSET s f v
		HSETNX s f v
		HGET s f
		HMGET s f
		HGETALL s
		HKEYS s
		HVALS s
		HLEN s
		HEXISTS s f
		HSTRLEN s f
		HDEL s f
		HINCRBY s f 1
		HINCRBYFLOAT s f 1
		HRANDFIELD s
		HRANDFIELD s 1
		HSCAN s 0
		HSET h f
		HSET h f v g
		HSET h
		HMSET h f
		HMSET h f v g
		HMSET h
		HSETNX h f
		HSETNX h f v g
		HGET h
		HGET h f g
		HMGET h
		HGETALL
		HGETALL h x
		HKEYS
		HVALS
		HLEN
		HEXISTS h
		HSTRLEN h
		HDEL h
		HINCRBY h f
		HINCRBYFLOAT h f
		HRANDFIELD
		HRANDFIELD h 1 WITHVALUES x
		HSCAN h
		HINCRBY s f abc
		HINCRBYFLOAT s f abc
		HSET s f v g
		HRANDFIELD s abc
		HSCAN s abc
		HSCAN s 0 FOO
		EXISTS h
	`},
	{"numbers in hashes", `
		HINCRBY h n 5
		HINCRBY h n -7
		HINCRBY h n abc
		HINCRBY h n 1.5
		HINCRBY h n ""
		HSET h s abc e "" sp " 1" big 9223372036854775807 low -9223372036854775808
		HINCRBY h s 1
		HINCRBY h e 1
		HINCRBY h sp 1
		HINCRBY h big 1
		HINCRBY h low -1
		HINCRBY h big -9223372036854775808
		HINCRBYFLOAT h f 1.5
		HINCRBYFLOAT h f -0.25
		HINCRBYFLOAT h f 1e3
		HINCRBYFLOAT h s 1
		HINCRBYFLOAT h e 1
		HINCRBYFLOAT h sp 1
		HINCRBYFLOAT h f abc
		HINCRBYFLOAT h f inf
		HINCRBYFLOAT h f nan
		HINCRBYFLOAT h f ""
		HINCRBYFLOAT h n 0.5
		HINCRBY h n 1
		@pairs HGETALL h
	`},
	{"HRANDFIELD", `
		HRANDFIELD none
		HRANDFIELD none 1
		HRANDFIELD none -1
		HRANDFIELD none 1 WITHVALUES
		HSET h only 1
		HRANDFIELD h
		HRANDFIELD h 1
		HRANDFIELD h 0
		HRANDFIELD h 5
		HRANDFIELD h -3
		HRANDFIELD h 5 WITHVALUES
		HRANDFIELD h -3 withvalues
		HRANDFIELD h 0 WITHVALUES
		HRANDFIELD h 1 FOO
		HRANDFIELD h abc
		HRANDFIELD h -9223372036854775808
		HRANDFIELD h 9223372036854775807 WITHVALUES
		HRANDFIELD h -9223372036854775807 WITHVALUES
		HRANDFIELD h 9223372036854775807
		HSET h b 2 c 3
		@sorted HRANDFIELD h 10
		@shape HRANDFIELD h 2
		@shape HRANDFIELD h -7
		@shape HRANDFIELD h 2 WITHVALUES
		@shape HRANDFIELD h -7 WITHVALUES
	`},
	{"HSCAN in one page", `
		HSCAN none 0
		HSET h a1 1 a2 2 b1 3
		@page HSCAN h 0
		@page HSCAN h 0 COUNT 100
		@page HSCAN h 0 MATCH b*
		@page HSCAN h 0 MATCH z* COUNT 100
		HSCAN h abc
		HSCAN none abc
		HSCAN h 0 COUNT 0
		HSCAN h 0 COUNT abc
		HSCAN h 0 COUNT
		HSCAN h 0 FOO
		HSCAN h 0 TYPE string
		HSCAN none 0 FOO
	`},
	{"lists: pushing and popping", `
		LPUSH l a b c
		RPUSH l d e
		LRANGE l 0 -1
		LLEN l
		LPUSHX l z
		RPUSHX l y x
		LPUSHX none z
		RPUSHX none z
		EXISTS none
		LPOP l
		RPOP l
		LPOP l 2
		RPOP l 2
		LPOP l 0
		LPOP none
		LPOP none 1
		LPOP none 0
		RPOP none
		RPOP none 5
		LPOP l 100
		EXISTS l
		LLEN l
		LPOP l 0
		LPOP l -1
		LPOP l abc
		LPOP l ""
		LPOP none -1
		RPOP l -1
		RPOP l 1 2
		LPOP l 9223372036854775807
		LPUSH l
		RPUSH l
		LPUSHX l
		LPOP
		LLEN
		RPUSH l "" "\x00\r\n"
		LRANGE l 0 -1
	`},
	{"lists: wrong kind", `
		SET s v
		LPUSH s a
		RPUSH s a
		LPUSHX s a
		RPUSHX s a
		LPOP s
		LPOP s 1
		LPOP s 0
		RPOP s
		LPOP s -1
		LPOP s abc
		LLEN s
		LRANGE s 0 -1
		LRANGE s a b
		LINDEX s 0
		LINDEX s abc
		LSET s 0 x
		LSET s abc x
		LINSERT s BEFORE a b
		LINSERT s FOO a b
		LREM s 0 a
		LREM s abc a
		LTRIM s 0 1
		LTRIM s a 1
		LPOS s a
		LPOS s a RANK 0
		LMOVE s l LEFT RIGHT
		LMOVE none s LEFT RIGHT
		RPOPLPUSH s l
		RPOPLPUSH none s
		LMPOP 1 s LEFT
		LMPOP 2 none s LEFT
		RPUSH l a
		LMOVE l s LEFT RIGHT
		RPOPLPUSH l s
		LMPOP 2 s l LEFT
		LMPOP 2 l s LEFT
	`},
	{"lists: reading and changing elements", `
		RPUSH l a b c d e
		LRANGE l 0 0
		LRANGE l 1 3
		LRANGE l -2 -1
		LRANGE l 3 1
		LRANGE l -100 100
		LRANGE l 10 20
		LRANGE l -1 -3
		LRANGE none 0 -1
		LRANGE l a 1
		LRANGE l 0 b
		LRANGE l 0
		LINDEX l 0
		LINDEX l -1
		LINDEX l 4
		LINDEX l 5
		LINDEX l -6
		LINDEX l abc
		LINDEX none 0
		LINDEX none abc
		LINDEX l
		LSET l 0 A
		LSET l -1 E
		LSET l 5 x
		LSET l -6 x
		LSET l abc x
		LSET none 0 x
		LSET none abc x
		LSET l 0
		LRANGE l 0 -1
		LINSERT l BEFORE c x
		LINSERT l AFTER c y
		LINSERT l before A first
		LINSERT l after E last
		LINSERT l BEFORE none x
		LINSERT none BEFORE a x
		LINSERT l FOO a x
		LINSERT none FOO a x
		LINSERT l BEFORE a
		LRANGE l 0 -1
		LTRIM l 1 -2
		LRANGE l 0 -1
		LTRIM l -3 100
		LRANGE l 0 -1
		LTRIM l a 1
		LTRIM l 0
		LTRIM none 0 1
		LTRIM l 5 1
		EXISTS l
		RPUSH l x y z
		LTRIM l 100 200
		EXISTS l
	`},
	{"LREM", `
		RPUSH l a b a c a b a
		LREM l 2 a
		LRANGE l 0 -1
		LREM l -1 b
		LRANGE l 0 -1
		LREM l 0 a
		LRANGE l 0 -1
		LREM l 0 none
		LREM none 0 a
		LREM none abc a
		LREM l abc a
		LREM l 0
		LREM l 0 b
		LREM l -5 c
		EXISTS l
	`},
	{"LPOS", `
		RPUSH l a b c 1 2 3 c c
		LPOS l a
		LPOS l c
		LPOS l none
		LPOS none c
		LPOS l c RANK 1
		LPOS l c RANK 2
		LPOS l c RANK 4
		LPOS l c RANK -1
		LPOS l c RANK -2
		LPOS l c RANK -4
		LPOS l c COUNT 0
		LPOS l c COUNT 1
		LPOS l c COUNT 2
		LPOS l c COUNT 10
		LPOS l c COUNT 0 RANK 2
		LPOS l c COUNT 2 RANK -1
		LPOS l c COUNT 0 RANK -2
		LPOS l none COUNT 0
		LPOS none c COUNT 0
		LPOS l c MAXLEN 2
		LPOS l c MAXLEN 3
		LPOS l c MAXLEN 0
		LPOS l c COUNT 0 MAXLEN 7
		LPOS l c COUNT 0 MAXLEN 2 RANK -1
		LPOS l c MAXLEN 5 RANK -3 COUNT 0
		LPOS l c rank 1 count 5 maxlen 100
		LPOS l c RANK 0
		LPOS l c RANK abc
		LPOS l c RANK -9223372036854775807
		LPOS l c RANK 9223372036854775807
		LPOS l c COUNT -1
		LPOS l c COUNT abc
		LPOS l c MAXLEN -1
		LPOS l c MAXLEN abc
		LPOS l c RANK
		LPOS l c FOO 1
		LPOS l c FOO
		LPOS l c RANK 1 RANK 2
		LPOS none c RANK 0
		LPOS l
	`},
	{"LMOVE, RPOPLPUSH and LMPOP", `
		RPUSH l a b c d
		LMOVE l m LEFT RIGHT
		LMOVE l m RIGHT LEFT
		LMOVE l l LEFT RIGHT
		LMOVE l l LEFT LEFT
		LRANGE l 0 -1
		LRANGE m 0 -1
		LMOVE none m LEFT RIGHT
		LMOVE l m FOO RIGHT
		LMOVE l m LEFT FOO
		LMOVE l m LEFT
		lmove l m left right
		RPOPLPUSH l m
		RPOPLPUSH l m
		EXISTS l
		RPOPLPUSH none m
		RPOPLPUSH m m
		LRANGE m 0 -1
		RPOPLPUSH m
		LMPOP 1 m LEFT
		LMPOP 1 m RIGHT COUNT 2
		LMPOP 2 none m LEFT COUNT 10
		LMPOP 2 none m LEFT
		LMPOP 0 m LEFT
		LMPOP -1 m LEFT
		LMPOP abc m LEFT
		LMPOP 2 m LEFT
		LMPOP 1 m FOO
		LMPOP 1 m LEFT COUNT
		LMPOP 1 m LEFT COUNT 0
		LMPOP 1 m LEFT COUNT -1
		LMPOP 1 m LEFT COUNT abc
		LMPOP 1 m LEFT FOO 1
		LMPOP 1 m LEFT COUNT 1 COUNT 2
		LMPOP 1 m
		LMPOP 3 m LEFT
		SET ttl v EX 100
		LMPOP 1 ttl LEFT
	`},
	{"encodings of lists", `
		RPUSH l a
		RPUSH long aaaaaaaaaabbbbbbbbbbccccccccccddddddddddaaaaaaaaaabbbbbbbbbbccccc
		@shape OBJECT ENCODING l
	`},
	{"blocking commands with something to take", `
		RPUSH l a b c d e f g h
		BLPOP l 1
		BRPOP l 1
		BLPOP none l 1
		BLPOP none l 0
		BLMOVE l m LEFT RIGHT 1
		BRPOPLPUSH l m 1
		BLMPOP 1 1 l LEFT
		BLMPOP 1 2 none l RIGHT COUNT 2
		LRANGE m 0 -1
	`},
	{"blocking commands: errors and time-outs", `
		SET s v
		BLPOP l abc
		BLPOP l -1
		BLPOP l ""
		BLPOP l nan
		BLPOP s 1
		BLPOP none s 1
		BLPOP l
		BLPOP
		BRPOP l -1
		BLMOVE l m LEFT RIGHT -1
		BLMOVE l m FOO RIGHT 1
		BLMOVE l m FOO RIGHT abc
		BLMOVE s m LEFT RIGHT 1
		BLMOVE l s LEFT RIGHT 0.01
		BRPOPLPUSH l m abc
		BRPOPLPUSH s m 1
		BLMPOP abc 1 l LEFT
		BLMPOP -1 1 l LEFT
		BLMPOP 1 0 l LEFT
		BLMPOP 1 2 l LEFT
		BLMPOP 1 1 l FOO
		BLMPOP 1 1 l LEFT COUNT 0
		BLMPOP 1 1 l LEFT FOO
		BLMPOP 1 1 s LEFT
		BLPOP l 0.01
		BRPOP l m 0.01
		BLMOVE l m LEFT RIGHT 0.01
		BRPOPLPUSH l m 0.01
		BLMPOP 0.01 1 l LEFT
	`},
	{"blocking commands that wait", `
		.send BLPOP l m 0
		.blocked 1
		2: RPUSH m a b
		.read
		LRANGE m 0 -1
		.send BRPOP l 0
		.blocked 1
		2: RPUSH l a b
		.read
		LRANGE l 0 -1
		DEL l m
		.send BLMOVE l m LEFT RIGHT 0
		.blocked 1
		2: LPUSH l a b
		.read
		LRANGE m 0 -1
		DEL l m
		.send BRPOPLPUSH l m 0
		.blocked 1
		2: LPUSH l a b
		.read
		.send BLMPOP 0 2 x y RIGHT COUNT 2
		.blocked 1
		2: RPUSH y a b c
		.read
		LRANGE y 0 -1
		DEL l m x y
		# a string does not wake; a list that takes its place does
		.send BLPOP l 0
		.blocked 1
		2: SET l v
		2: DEL l
		2: RPUSH other x
		2: RENAME other l
		.read
		EXISTS l
		# a transaction that leaves nothing wakes nobody
		.send BLPOP l 0
		.blocked 1
		2: MULTI
		2: RPUSH l a
		2: DEL l
		2: EXEC
		2: RPUSH l b
		.read
		# the one who waits longest is served first
		.send BLPOP l 0
		.blocked 1
		3: .send BLPOP l 0
		.blocked 2
		2: RPUSH l first second
		.read
		3: .read
	`},
	{"CLIENT UNBLOCK", `
		CLIENT ID => a
		.send BLPOP l 0
		.blocked 1
		2: CLIENT UNBLOCK $a
		.read
		.send BLPOP l 0
		.blocked 1
		2: CLIENT UNBLOCK $a TIMEOUT
		.read
		.send BLPOP l 0
		.blocked 1
		2: CLIENT UNBLOCK $a ERROR
		.read
		2: CLIENT UNBLOCK $a
		2: CLIENT UNBLOCK 9999
		2: CLIENT UNBLOCK abc
		2: CLIENT UNBLOCK $a FOO
		2: CLIENT UNBLOCK
		PING
	`},
}
