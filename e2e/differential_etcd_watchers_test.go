package e2e

import "strings"

var etcdWatchCases = []etcdCase{
	{"watching keys and ranges", `
		w: create key:"a"
		w: create key:"a" range_end:"c"
		w: create key:"b" range_end:"\x00"
		w: create key:"" range_end:"\x00"
		w: create key:"\x00" range_end:"\x00"
		w: create
		w: create range_end:"b"
		Put key:"a" value:"1"
		Put key:"b" value:"1"
		Put key:"a" value:"2"
		Put key:"c" value:"1"
		Txn success:{request_put:{key:"a" value:"3"}} success:{request_delete_range:{key:"b" range_end:"d"}} success:{request_put:{key:"e" value:"1"}}
		DeleteRange key:"none"
		DeleteRange key:"\x00" range_end:"\x00"
		Put key:"a" value:"again"
		w: drain
	`},
	{"watching with values before, and filters", `
		Put key:"a" value:"0"
		w: create key:"a" range_end:"z" prev_kv:true
		w: create key:"a" range_end:"z" filters:NOPUT
		w: create key:"a" range_end:"z" filters:NODELETE prev_kv:true
		w: create key:"a" range_end:"z" filters:NODELETE filters:NOPUT
		w: create key:"a" range_end:"z" filters:NOPUT filters:NOPUT
		w: create key:"a" range_end:"z" filters:9
		LeaseGrant ID:7 TTL:500
		Put key:"a" value:"1"
		Put key:"b" value:"1" lease:7
		Put key:"b" value:"2" lease:7
		DeleteRange key:"a"
		Put key:"c" value:"1" lease:7
		LeaseRevoke ID:7
		Txn success:{request_put:{key:"a" value:"9"}} success:{request_put:{key:"b" value:"9"}}
		Txn success:{request_delete_range:{key:"a"}} success:{request_delete_range:{key:"b"}}
		w: drain
	`},
	// Only a delete from a key on can follow a put of the same key in a Txn. The value before is that before the Txn.
	{"watching a key that one Txn changes twice", `
		Put key:"b" value:"0"
		w: create key:"a" range_end:"z" prev_kv:true
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_put:{key:"b" value:"1"}} success:{request_delete_range:{key:"a" range_end:"\x00"}}
		w: drain
		w: create key:"a" range_end:"z" prev_kv:true start_revision:@1
		Put key:"other" value:"what the drain waits for"
		w: drain
	`},
	{"watching from a revision", `
		Put key:"a" value:"1"
		Put key:"b" value:"1"
		Put key:"a" value:"2"
		DeleteRange key:"a"
		Txn success:{request_put:{key:"a" value:"3"}} success:{request_put:{key:"b" value:"3"}}
		w: create key:"a" start_revision:@1
		w: create key:"a" range_end:"z" start_revision:@2 prev_kv:true
		w: create key:"a" range_end:"z" start_revision:@5
		w: create key:"a" range_end:"z" start_revision:@6
		w: create key:"a" range_end:"z" start_revision:@8
		w: create key:"a" range_end:"z" start_revision:@1 filters:NOPUT prev_kv:true
		w: create key:"a" range_end:"z" start_revision:-1
		w: create key:"a" range_end:"z" start_revision:-9223372036854775808
		w: wait 20
		Put key:"a" value:"6"
		Put key:"a" value:"7"
		Put key:"a" value:"8"
		Put key:"a" value:"9"
		w: drain
	`},
	{"watching what has been compacted", `
		Put key:"a" value:"1"
		Put key:"a" value:"2"
		Put key:"b" value:"2"
		DeleteRange key:"b"
		Put key:"a" value:"3"
		Compact revision:@3
		w: create key:"a" start_revision:@1
		w: create key:"a" range_end:"z" start_revision:@2
		w: create key:"a" range_end:"z" start_revision:@3 prev_kv:true
		w: create key:"a" range_end:"z" start_revision:@4 prev_kv:true
		w: create key:"none" start_revision:@1
		w: create key:"a" start_revision:1 watch_id:77
		w: wait 15
		Put key:"a" value:"4"
		w: wait 17
		w: create key:"a" watch_id:77
		Put key:"a" value:"5"
		w: wait 20
	`},
	{"ids, cancelling and refusals", `
		w: create key:"a"
		w: create key:"a" watch_id:1
		w: create key:"a"
		w: create key:"a" watch_id:1
		w: create key:"a" watch_id:3
		w: create key:"a"
		w: create key:"a" watch_id:-3
		w: create key:"a" watch_id:-1
		w: create key:"a" range_end:"a"
		w: create key:"b" range_end:"a"
		w: create key:"b" range_end:"a" watch_id:1
		w: create key:"a" watch_id:1 start_revision:-1
		Put key:"a" value:"1"
		w: drain
		w: send cancel_request:{watch_id:1}
		w: send cancel_request:{watch_id:1}
		w: send cancel_request:{watch_id:999}
		w: send cancel_request:{watch_id:-1}
		w: send
		w: create key:"behind the cancelling"
		Put key:"a" value:"2"
		w: drain
		w: create key:"a" watch_id:1
		w: send cancel_request:{watch_id:0}
		w: create key:"a"
		Put key:"a" value:"3"
		w: drain
	`},
	{"many streams", `
		v: create key:"a"
		w: create key:"a" range_end:"c" prev_kv:true
		Put key:"a" value:"1"
		v: drain
		w: drain
		Put key:"b" value:"1"
		x: create key:"a" range_end:"c" start_revision:@1 progress_notify:true
		Put key:"a" value:"2"
		v: drain
		w: drain
		x: drain
	`},
	{"long messages in fragments", `
		w: create key:"a" range_end:"z" fragment:true
		w: create key:"a" range_end:"z"
		Put key:"a" value:"` + strings.Repeat("x", 1_000_000) + `"
		Put key:"b" value:"` + strings.Repeat("y", 1_000_000) + `"
		Put key:"c" value:"` + strings.Repeat("z", 1_000_000) + `"
		w: create key:"a" range_end:"z" fragment:true start_revision:@1 prev_kv:true
		DeleteRange key:"a" range_end:"z"
		w: create key:"a" range_end:"z" fragment:true start_revision:@1 prev_kv:true
		w: drain
	`},
}
