package e2e

import "strings"

var redisSessionCases = []redisCase{
	{"unknown commands and wrong arity", `
		nonsense
		NONSENSE a b
		nonsense "a b" "" "\x00"
		"" a
		"two words" a
		"with\r\nnewline" a
		` + strings.Repeat("n", 200) + ` a
		nonsense ` + strings.Repeat("a", 200) + ` b
		nonsense ` + strings.Repeat("0123456789 ", 20) + `
		GET
		get
		GeT a b
		CLIENT
		CLIENT FOO
		client foo bar
		CLIENT ID x
		CLIENT SETNAME
		CLIENT GETNAME x
		CLIENT ` + strings.Repeat("n", 200) + `
		CONFIG
		CONFIG FOO
		CONFIG GET
		COMMAND FOO
		COMMAND COUNT x
		PUBSUB
		PUBSUB FOO
		PUBSUB NUMPAT x
		PING a b
		ECHO
		ECHO a b
		TIME x
		DBSIZE x
		MULTI x
		EXEC x
		MULTI
		SET k v
		EXEC x
		EXEC
		DISCARD x
		WATCH
		UNWATCH x
		PUBLISH a
		SUBSCRIBE
		PSUBSCRIBE
		AUTH
		WAIT 1
		RESET x
		SELECT
	`},
	{"PING, ECHO, TIME and WAIT", `
		PING
		ping
		PING hello
		PING ""
		PING "\x00\r\n"
		ECHO hello
		ECHO ""
		@shape TIME
		WAIT 0 0
		WAIT 0 10
		WAIT 1 1
		WAIT abc 0
		WAIT 0 abc
		WAIT 0 -1
		WAIT -1 0
		READONLY x
		READWRITE x
	`},
	{"HELLO", `
		@hello HELLO
		@hello HELLO 2
		@hello HELLO 3
		PING
		GET none
		@hello HELLO
		HELLO 1
		HELLO 4
		HELLO 0
		HELLO -3
		HELLO abc
		HELLO ""
		HELLO 3.0
		HELLO 3 FOO
		HELLO 3 AUTH
		HELLO 3 AUTH default
		@hello HELLO 3 AUTH default any
		HELLO 3 AUTH nobody any
		HELLO 3 SETNAME
		@hello HELLO 3 SETNAME me
		CLIENT GETNAME
		HELLO 2 SETNAME "a b"
		CLIENT GETNAME
		@hello hello 2 setname you auth default x
		CLIENT GETNAME
		GET none
		HELLO 4 FOO
		HELLO FOO 3
	`},
	{"HELLO within MULTI", `
		MULTI
		HELLO 3
		GET none
		@shape EXEC
		GET none
	`},
	{"AUTH", `
		AUTH x
		AUTH default x
		AUTH nobody x
		AUTH a b c
	`},
	{"RESET and QUIT", `
		CLIENT SETNAME me
		SELECT 5
		SET k v
		MULTI
		SET k w
		WATCH k
		RESET
		CLIENT GETNAME
		GET k
		SELECT 5
		GET k
		@shape HELLO 3
		RESET
		GET none
		SUBSCRIBE c
		RESET
		2: PUBLISH c x
		PING
		QUIT
		.read
		3: MULTI
		3: QUIT
		3: .read
		4: SUBSCRIBE c
		4: QUIT
		4: .read
		5: .sendraw "QUIT\r\nPING\r\n"
		5: .read
		5: .read
	`},
	{"CLIENT", `
		@shape CLIENT ID
		CLIENT GETNAME
		CLIENT SETNAME me
		CLIENT GETNAME
		CLIENT SETNAME "a b"
		CLIENT SETNAME "a\nb"
		CLIENT SETNAME "ü"
		CLIENT GETNAME
		CLIENT SETNAME ""
		CLIENT GETNAME
		@shape CLIENT INFO
		@shape CLIENT LIST
		@shape CLIENT LIST TYPE normal
		CLIENT LIST TYPE master
		CLIENT LIST TYPE replica
		CLIENT LIST TYPE foo
		CLIENT LIST ID abc
		CLIENT LIST ID 0
		CLIENT LIST ID -1
		CLIENT LIST ID 999999
		CLIENT LIST ID
		CLIENT LIST TYPE
		CLIENT LIST FOO
		CLIENT LIST FOO x
		CLIENT NO-EVICT on
		CLIENT NO-EVICT OFF
		CLIENT NO-EVICT foo
		CLIENT GETREDIR
		CLIENT KILL 1.2.3.4:5
		CLIENT KILL ID abc
		CLIENT KILL ID 0
		CLIENT KILL ID 999999
		CLIENT KILL TYPE foo
		CLIENT KILL TYPE master
		CLIENT KILL USER nobody
		CLIENT KILL ADDR 1.2.3.4:5
		CLIENT KILL LADDR 1.2.3.4:5
		CLIENT KILL ID 999999 SKIPME foo
		CLIENT KILL ID 999999 SKIPME no
		CLIENT KILL ID
		CLIENT KILL FOO bar
		CLIENT KILL ID 1 FOO
		CLIENT KILL
		2: CLIENT ID => b
		CLIENT KILL ID $b
		2: .read
		CLIENT ID => a
		CLIENT KILL ID $a
		CLIENT KILL ID $a SKIPME no
		.read
	`},
	{"CLIENT REPLY", `
		CLIENT REPLY ON
		CLIENT REPLY FOO
		CLIENT REPLY
		.send CLIENT REPLY SKIP
		.send SET k v
		GET k
		.send CLIENT REPLY OFF
		.send SET k w
		.send nonsense
		CLIENT REPLY ON
		GET k
	`},
	{"COMMAND", `
		COMMAND GETKEYS GET a
		COMMAND GETKEYS MSET a 1 b 2
		COMMAND GETKEYS mget a b c
		COMMAND GETKEYS LMPOP 2 a b LEFT
		COMMAND GETKEYS BLMPOP 0 2 a b LEFT
		COMMAND GETKEYS LMPOP 9 a b LEFT
		COMMAND GETKEYS LMPOP abc a b LEFT
		COMMAND GETKEYS BLPOP a b 0
		COMMAND GETKEYS COPY a b
		COMMAND GETKEYS OBJECT ENCODING a
		COMMAND GETKEYS SET a v EX 10
		COMMAND GETKEYS PING x
		COMMAND GETKEYS nonsense a
		COMMAND GETKEYS GET a b
		COMMAND GETKEYS
		COMMAND INFO nonsense
		COMMAND INFO nonsense none2
		COMMAND DOCS nonsense
		@sorted COMMAND LIST FILTERBY PATTERN g?t
		@sorted COMMAND LIST FILTERBY PATTERN GE*EX
		COMMAND LIST FILTERBY MODULE none
		@sorted COMMAND LIST FILTERBY ACLCAT transaction
		COMMAND LIST FILTERBY FOO x
		COMMAND LIST FILTERBY PATTERN
		COMMAND LIST FOO
	`},
	{"CONFIG and INFO", `
		CONFIG GET databases
		CONFIG GET DATABASES
		CONFIG GET maxmemory
		CONFIG GET maxmemory-policy
		CONFIG GET save
		CONFIG GET timeout
		CONFIG GET nonsense
		CONFIG GET notify-keyspace-events
		@pairs CONFIG GET databases cluster-enabled
		CONFIG GET databases DATABASES* databases
		@shape CONFIG GET appendonly
		CONFIG SET
		CONFIG SET databases
		CONFIG SET databases 4
		CONFIG SET nonsense 1
		CONFIG SET timeout
		CONFIG RESETSTAT
		CONFIG RESETSTAT x
		@shape INFO
		@shape INFO server clients
		INFO nonsense
	`},
	{"inline commands", `
		.raw "PING\r\n"
		.raw "PING\n"
		.raw "   PING   hello  \r\n"
		.raw "SET k \"a b\"\r\n"
		.raw "GET k\r\n"
		.raw "SET 'k' 'it''s'\r\n"
		.raw "SET k \"\\x41\\n\\t\\\\ \\\"q\\\" \\q\"\r\n"
		.raw "GET k\r\n"
		.raw "SET k 'it\\'s \\n'\r\n"
		.raw "GET k\r\n"
		.raw "SET k \"\"\r\n"
		.raw "GET k\r\n"
		.raw "\r\n\r\n  \r\nPING\r\n"
		.raw "SET k a\"b\r\n"
		.read
	`},
	{"requests that cannot be read", `
		1: .raw "*x\r\n"
		1: .read
		2: .raw "*1\r\n+PING\r\n"
		2: .read
		3: .raw "*1\r\n$x\r\n"
		3: .read
		4: .raw "*1\r\n$-1\r\n"
		4: .read
		5: .raw "*1\r\n$536870913\r\n"
		5: .read
		6: .raw "*2147483648\r\n"
		6: .read
		7: .raw "*99999999999999999999\r\n"
		8: .raw "GET \"unbalanced\r\n"
		8: .read
		9: .raw "GET 'unbalanced\r\n"
		10: .raw "GET \"a\"b\r\n"
		11: .raw "*-1\r\n*0\r\n*1\r\n$4\r\nPING\r\n"
		12: .raw "*1\r\n$ 4\r\nPING\r\n"
		13: .raw "*2\r\n$3\r\nGET\r\n:1\r\n"
		14: .raw "*1\r\n\r\n"
		15: .raw "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n"
		15: .read
		16: .raw "PING\r\n*x\r\nPING\r\n"
		16: .read
		16: .read
		17: .raw "*1\r\n\n\r\n"
		18: .raw "*01\r\n"
		19: .raw "*+1\r\n$4\r\nPING\r\n"
		20: .raw "*1\r\n$+4\r\nPING\r\n"
		21: .raw "*1\r\n$9999999999999999999999\r\n"
	`},
	{"requests that are too long", `
		1: .raw "` + strings.Repeat("a", 70_000) + `"
		1: .read
		2: .raw "*` + strings.Repeat("1", 70_000) + `"
		2: .read
		3: .raw "*1\r\n$` + strings.Repeat("1", 70_000) + `"
		3: .read
	`},
	{"pipelines", `
		.sendraw "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n"
		.read
		.read
		.read
		.read
		.sendraw "MULTI\r\nSET k 1\r\nINCR k\r\nEXEC\r\nGET k\r\nnonsense\r\nGET k\r\n"
		.read
		.read
		.read
		.read
		.read
		.read
		.read
		.sendraw "BLPOP l 0\r\nSET after 1\r\n"
		.blocked 1
		2: GET after
		2: RPUSH l x
		.read
		.read
	`},
}
