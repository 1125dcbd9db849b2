package e2e

import "strings"

// tooBig is a value over the limit of a request, big one that just fits in.
var (
	big    = strings.Repeat("x", 1_500_000)
	tooBig = strings.Repeat("x", 1_600_000)
)

var etcdKVCases = []etcdCase{
	{"Put and its options", `
		Put key:"a" value:"1"
		Put key:"a" value:"2"
		Put key:"a" value:"3" prev_kv:true
		Put key:"new" value:"3" prev_kv:true
		Range key:"a"
		Put key:"a"
		Range key:"a"
		Put key:"a" ignore_value:true
		Put key:"a" value:"x" ignore_value:true
		Put key:"none" ignore_value:true
		Put key:"none" ignore_lease:true
		Put key:"none" value:"x" ignore_value:true
		Put key:"none" lease:7 ignore_lease:true
		Put key:"a" value:"x" ignore_lease:true lease:7
		Put key:"a" value:"x" ignore_value:true ignore_lease:true lease:7
		Put key:"a" lease:999
		Put key:"" value:"1"
		Put value:"1"
		Put key:"" ignore_value:true value:"x"
		Put key:"\x00" value:"zero"
		Put key:"\xff\xfe" value:"\x00\xff"
		Range key:"\x00" range_end:"\x00"
		LeaseGrant ID:7 TTL:500
		Put key:"l" value:"1" lease:7
		Put key:"l" value:"2" ignore_lease:true
		Range key:"l"
		Put key:"l" ignore_value:true
		Range key:"l"
		Put key:"l" ignore_value:true lease:7 prev_kv:true
		Put key:"l" ignore_value:true ignore_lease:true prev_kv:true
		Put key:"l" ignore_value:true lease:999
		Put key:"l" lease:-1
		Range key:"l"
		Put key:"big" value:"` + big + `"
		Put key:"big" value:"` + tooBig + `"
		Put key:"big" value:"` + tooBig + tooBig + `"
		Range key:"big" keys_only:true
	`},
	{"Range over keys", `
		Put key:"a" value:"1"
		Put key:"b" value:"2"
		Put key:"ba" value:"3"
		Put key:"bb" value:"4"
		Put key:"c" value:"5"
		Range key:"a"
		Range key:"none"
		Range key:"a" range_end:"c"
		Range key:"b" range_end:"c"
		Range key:"b" range_end:"b"
		Range key:"c" range_end:"a"
		Range key:"b" range_end:"\x00"
		Range key:"\x00" range_end:"\x00"
		Range key:"" range_end:"\x00"
		Range key:"" range_end:"c"
		Range
		Range key:"a" range_end:"c" limit:1
		Range key:"a" range_end:"c" limit:3
		Range key:"a" range_end:"c" limit:4
		Range key:"a" range_end:"c" limit:-1
		Range key:"a" range_end:"c" count_only:true
		Range key:"a" range_end:"c" count_only:true limit:1
		Range key:"a" range_end:"c" keys_only:true
		Range key:"a" range_end:"c" keys_only:true limit:2
		Range key:"a" range_end:"c" keys_only:true count_only:true
		Range key:"a" range_end:"c" serializable:true
		Range key:"none" count_only:true
		Range key:"a" limit:1
		Range key:"a" count_only:true
	`},
	{"Range sorted and filtered", `
		Put key:"a" value:"3"
		Put key:"b" value:"1"
		Put key:"c" value:"2"
		Put key:"b" value:"9"
		Put key:"a" value:"5"
		Put key:"a" value:"5"
		Put key:"d" value:"5"
		DeleteRange key:"c"
		Put key:"c" value:"0"
		` + everySort() + `
		Range key:"a" range_end:"z" sort_order:DESCEND sort_target:VALUE keys_only:true
		Range key:"a" range_end:"z" sort_target:VALUE keys_only:true limit:2
		Range key:"a" range_end:"z" sort_order:DESCEND sort_target:VALUE count_only:true
		Range key:"a" range_end:"z" sort_order:3
		Range key:"a" range_end:"z" sort_target:5
		Range key:"a" range_end:"z" sort_order:-1
		Range key:"a" range_end:"z" sort_target:-1
		Range key:"a" sort_order:7
		Range key:"" sort_order:7
		Range key:"a" range_end:"z" min_mod_revision:@5
		Range key:"a" range_end:"z" max_mod_revision:@5
		Range key:"a" range_end:"z" min_create_revision:@2
		Range key:"a" range_end:"z" max_create_revision:@2
		Range key:"a" range_end:"z" min_mod_revision:@5 max_mod_revision:@6
		Range key:"a" range_end:"z" min_mod_revision:@5 max_create_revision:@2 limit:1
		Range key:"a" range_end:"z" max_mod_revision:@4 limit:1
		Range key:"a" range_end:"z" max_mod_revision:@6 limit:1 sort_order:DESCEND
		Range key:"a" range_end:"z" max_mod_revision:@0
		Range key:"a" range_end:"z" min_mod_revision:@100
		Range key:"a" range_end:"z" min_mod_revision:-5
		Range key:"a" range_end:"z" max_mod_revision:-5
		Range key:"a" range_end:"z" min_create_revision:-5 max_create_revision:-1
		Range key:"a" range_end:"z" min_mod_revision:@5 count_only:true
		Range key:"a" min_mod_revision:@5
		Range key:"b" min_mod_revision:@5
		Range key:"a" range_end:"z" min_mod_revision:@5 revision:@5
		Range key:"a" range_end:"z" sort_order:DESCEND sort_target:VERSION revision:@4 limit:1
	`},
	{"Range at a revision", `
		Put key:"a" value:"1"
		Put key:"a" value:"2"
		Put key:"b" value:"1"
		DeleteRange key:"a"
		Put key:"a" value:"3"
		Range key:"a" range_end:"z" revision:@0
		Range key:"a" range_end:"z" revision:@1
		Range key:"a" range_end:"z" revision:@2
		Range key:"a" range_end:"z" revision:@3
		Range key:"a" range_end:"z" revision:@4
		Range key:"a" range_end:"z" revision:@5
		Range key:"a" range_end:"z" revision:@6
		Range key:"a" revision:@1000
		Range key:"a" range_end:"z" revision:@2 limit:1
		Range key:"a" range_end:"z" revision:@3 count_only:true
		Range key:"a" revision:-1
		Range key:"a" revision:-9223372036854775808
		Range key:"a" revision:9223372036854775807
		Range key:"a" revision:@4 serializable:true
		Range key:"" revision:@1000
		Range key:"c" range_end:"b" revision:@1000
	`},
	// A sort target alone sorts each message; here there is one.
	{"RangeStream", `
		RangeStream key:"a" range_end:"z"
		Put key:"a" value:"1"
		Put key:"b" value:"2"
		Put key:"c" value:"3"
		Put key:"a" value:"4"
		RangeStream key:"a"
		RangeStream key:"none"
		RangeStream key:"a" range_end:"z"
		RangeStream key:"a" range_end:"z" limit:2
		RangeStream key:"a" range_end:"z" limit:3
		RangeStream key:"a" range_end:"z" count_only:true
		RangeStream key:"a" range_end:"z" keys_only:true
		RangeStream key:"a" range_end:"z" revision:@2
		RangeStream key:"a" range_end:"z" revision:@100
		RangeStream key:"a" range_end:"z" revision:-1
		RangeStream key:"a" range_end:"z" serializable:true
		RangeStream key:"a" range_end:"z" sort_order:ASCEND
		RangeStream key:"a" range_end:"z" sort_order:DESCEND
		RangeStream key:"a" range_end:"z" sort_order:ASCEND sort_target:KEY
		RangeStream key:"a" range_end:"z" sort_order:9
		RangeStream key:"a" range_end:"z" sort_target:VERSION
		RangeStream key:"a" range_end:"z" sort_target:CREATE
		RangeStream key:"a" range_end:"z" sort_target:MOD
		RangeStream key:"a" range_end:"z" sort_target:VALUE
		RangeStream key:"a" range_end:"z" sort_target:VALUE keys_only:true
		RangeStream key:"a" range_end:"z" sort_target:9
		RangeStream key:"a" range_end:"z" min_mod_revision:1
		RangeStream key:"a" range_end:"z" max_create_revision:1
		RangeStream key:""
		RangeStream key:"z" range_end:"a"
	`},
	{"DeleteRange", `
		Put key:"a" value:"1"
		Put key:"b" value:"2"
		Put key:"ba" value:"3"
		Put key:"c" value:"4"
		DeleteRange key:"none"
		DeleteRange key:"none" prev_kv:true
		DeleteRange key:"a" prev_kv:true
		DeleteRange key:"a"
		DeleteRange key:"b" range_end:"c" prev_kv:true
		DeleteRange key:"c" range_end:"b"
		DeleteRange key:"c" range_end:"c"
		DeleteRange key:""
		DeleteRange key:"" range_end:"\x00"
		Put key:"a" value:"1"
		Put key:"b" value:"1"
		DeleteRange key:"b" range_end:"\x00"
		Range key:"\x00" range_end:"\x00"
		DeleteRange key:"\x00" range_end:"\x00" prev_kv:true
		Put key:"a" value:"again"
		Range key:"a"
	`},
	{"Compact", `
		Put key:"a" value:"1"
		Put key:"a" value:"2"
		Put key:"b" value:"1"
		DeleteRange key:"a"
		Put key:"a" value:"3"
		Compact revision:@2
		Range key:"a" revision:@1
		Range key:"a" revision:@2
		Range key:"a" revision:@3
		Range key:"a" range_end:"z" revision:@1 count_only:true
		RangeStream key:"a" range_end:"z" revision:@1
		Compact revision:@2
		Compact revision:@1
		Compact revision:0
		Compact revision:-1
		Compact revision:@100
		Compact revision:@6
		Compact revision:@4 physical:true
		Range key:"a" revision:@4
		Range key:"b" revision:@4
		Range key:"a" revision:@3
		Compact revision:@5 physical:true
		Range key:"a" revision:@4
		Range key:"a" revision:@5
		Range key:"a"
		Compact
	`},
	{"leases", `
		LeaseGrant ID:100 TTL:100
		LeaseGrant ID:100 TTL:100
		LeaseGrant ID:200 TTL:2000
		LeaseGrant ID:-5 TTL:50000
		LeaseGrant ID:300 TTL:0
		LeaseTimeToLive ID:300
		LeaseRevoke ID:300
		LeaseGrant ID:300 TTL:-5
		LeaseRevoke ID:300
		LeaseGrant ID:400 TTL:9000000001
		LeaseGrant ID:400 TTL:9000000000
		LeaseGrant ID:9223372036854775807 TTL:7000
		LeaseGrant ID:-9223372036854775808 TTL:8000
		LeaseLeases
		LeaseTimeToLive ID:100
		LeaseTimeToLive ID:100 keys:true
		LeaseTimeToLive ID:999
		LeaseTimeToLive ID:999 keys:true
		LeaseTimeToLive ID:0
		LeaseKeepAlive ID:100
		LeaseKeepAlive ID:999
		LeaseKeepAlive ID:0
		LeaseRevoke ID:999
		LeaseRevoke ID:0
		LeaseRevoke ID:-5
		LeaseRevoke ID:-5
		Put key:"b" value:"1" lease:100
		Put key:"a" value:"1" lease:100
		Put key:"c" value:"1" lease:200
		LeaseTimeToLive ID:100 keys:true
		Put key:"b" value:"2" lease:200
		Put key:"a" value:"2"
		LeaseTimeToLive ID:100 keys:true
		LeaseTimeToLive ID:200 keys:true
		LeaseRevoke ID:100
		Range key:"a" range_end:"z"
		DeleteRange key:"c"
		LeaseTimeToLive ID:200 keys:true
		Put key:"c" value:"1" lease:200
		LeaseRevoke ID:200
		Range key:"a" range_end:"z"
		Put key:"c" value:"1" lease:200
	`},
	{"the end of a lease", `
		LeaseGrant ID:1 TTL:1
		Put key:"b" value:"1" lease:1
		Put key:"a" value:"1" lease:1
		w: create key:"a" range_end:"z" prev_kv:true
		w: wait 3
		Range key:"a" range_end:"z"
		LeaseTimeToLive ID:1
		LeaseKeepAlive ID:1
		LeaseRevoke ID:1
		LeaseLeases
	`},
	{"the server and its members", `
		Status
		MemberList
		MemberList linearizable:true
	`},
}

// everySort ranges in every order by every target.
func everySort() string {
	var b strings.Builder
	for _, order := range []string{"NONE", "ASCEND", "DESCEND"} {
		for _, target := range []string{"KEY", "VERSION", "CREATE", "MOD", "VALUE"} {
			for _, limit := range []string{"0", "2"} {
				b.WriteString(`Range key:"a" range_end:"z" sort_order:` + order + " sort_target:" + target + " limit:" + limit + "\n")
			}
		}
	}
	return b.String()
}
