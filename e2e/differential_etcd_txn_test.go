package e2e

import (
	"fmt"
	"strings"
)

var etcdTxnCases = []etcdCase{
	{"every comparison", `
		LeaseGrant ID:7 TTL:500
		Put key:"a" value:"m"
		Put key:"a" value:"m" lease:7
		Put key:"b" value:"n"
		` + everyComparison() + `
		Txn compare:{key:"a" target:VALUE}
		Txn compare:{key:"a" target:VERSION}
		Txn compare:{key:"none" target:VERSION}
		Txn compare:{key:"a" target:VALUE version:2}
		Txn compare:{key:"a" target:VERSION value:"m"}
		Txn compare:{key:"a" target:VALUE value:"m" result:9}
		Txn compare:{key:"a" target:9 value:"m"}
		Txn compare:{target:VALUE value:"m"}
		Txn compare:{key:"" range_end:"\x00" target:VERSION version:1}
		Txn compare:{key:"a" range_end:"z" target:VERSION result:GREATER version:0}
		Txn compare:{key:"a" range_end:"z" target:VERSION result:GREATER version:1}
		Txn compare:{key:"a" range_end:"z" target:VALUE result:GREATER value:"a"}
		Txn compare:{key:"x" range_end:"z" target:VERSION result:EQUAL version:0}
		Txn compare:{key:"x" range_end:"z" target:VERSION result:GREATER version:0}
		Txn compare:{key:"x" range_end:"z" target:VALUE result:EQUAL value:""}
		Txn compare:{key:"x" range_end:"z" target:VALUE result:NOT_EQUAL value:"q"}
		Txn compare:{key:"x" range_end:"z" target:LEASE result:EQUAL lease:0}
		Txn compare:{key:"z" range_end:"a" target:VERSION result:EQUAL version:0}
		Txn compare:{key:"b" range_end:"\x00" target:MOD result:EQUAL mod_revision:@3}
		Txn compare:{key:"a" target:VERSION version:2} compare:{key:"b" target:VERSION version:1} success:{request_put:{key:"t" value:"1"}}
		Txn compare:{key:"a" target:VERSION version:2} compare:{key:"b" target:VERSION version:2} success:{request_put:{key:"t" value:"2"}}
		Range key:"t"
	`},
	{"operations of a Txn", `
		Txn
		Txn success:{request_put:{key:"a" value:"1"}}
		Txn success:{request_range:{key:"a"}}
		Txn success:{request_put:{key:"a" value:"2" prev_kv:true}} success:{request_put:{key:"b" value:"2"}} success:{request_range:{key:"a" range_end:"z"}}
		Txn success:{request_delete_range:{key:"a" range_end:"z" prev_kv:true}} success:{request_range:{key:"a" range_end:"z"}}
		Txn success:{request_delete_range:{key:"none"}}
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_delete_range:{key:"b"}} failure:{request_put:{key:"a" value:"2"}}
		Txn compare:{key:"a" target:VERSION version:9} success:{request_put:{key:"a" value:"x"}} failure:{request_range:{key:"a"}}
		Txn compare:{key:"a" target:VERSION version:9} success:{request_put:{key:"a" value:"x"}}
		Txn success:{request_range:{key:"a" serializable:true}}
		Txn success:{request_range:{key:"a" count_only:true}} success:{request_range:{key:"a" keys_only:true}}
		Txn success:{request_range:{key:"a" range_end:"z" limit:1 sort_order:DESCEND sort_target:VALUE}}
		Txn success:{request_range:{key:"a" revision:@1}}
		Txn success:{request_put:{key:"c" value:"1"}} success:{request_range:{key:"c" revision:@2}}
		Txn success:{request_put:{key:"c" value:"2"}} success:{request_range:{key:"c"}} success:{request_delete_range:{key:"d"}} success:{request_range:{key:"a" range_end:"z"}}
		Txn success:{request_delete_range:{key:"a"}} success:{request_delete_range:{key:"a"}}
		Txn success:{request_delete_range:{key:"a" range_end:"z"}} success:{request_delete_range:{key:"c"}}
		Range key:"a" range_end:"z"
	`},
	{"nested Txns", `
		Put key:"a" value:"1"
		Txn success:{request_txn:{compare:{key:"a" target:VALUE value:"1"} success:{request_put:{key:"b" value:"yes"}} failure:{request_put:{key:"b" value:"no"}}}}
		Txn success:{request_put:{key:"a" value:"2"}} success:{request_txn:{compare:{key:"a" target:VALUE value:"1"} success:{request_range:{key:"a"}} failure:{request_range:{key:"b"}}}}
		Txn success:{request_txn:{}}
		Txn success:{request_txn:{success:{request_txn:{success:{request_put:{key:"deep" value:"1"}} success:{request_range:{key:"deep"}}}}}}
		Txn success:{request_txn:{success:{request_put:{key:"x" value:"1"}}}} success:{request_txn:{success:{request_put:{key:"y" value:"1"}}}} success:{request_range:{key:"x" range_end:"z"}}
		Txn compare:{key:"a" target:VERSION version:9} success:{request_txn:{success:{request_put:{key:"x" value:"2"}}}} failure:{request_txn:{compare:{key:"none" target:VALUE value:""} success:{request_range:{key:"x"}} failure:{request_delete_range:{key:"x"}}}}
		Txn success:{request_txn:{success:{request_put:{key:"p" value:"1"}} failure:{request_put:{key:"p" value:"2"}}}}
		Txn success:{request_put:{key:"q" value:"1"}} success:{request_txn:{compare:{key:"none" target:VERSION version:5} success:{request_range:{key:"q"}} failure:{request_range:{key:"q" range_end:"z"}}}}
		Txn success:{request_txn:{success:{request_range:{key:""}}}}
		Txn success:{request_txn:{compare:{key:""}}}
		Txn success:{request_txn:{failure:{request_put:{key:"x" lease:99}}}}
		Range key:"a" range_end:"z"
	`},
	{"keys given twice", `
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_put:{key:"a" value:"2"}}
		Txn success:{request_put:{key:"a" value:"1"}} failure:{request_put:{key:"a" value:"2"}}
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_delete_range:{key:"a"}}
		Txn success:{request_delete_range:{key:"a"}} success:{request_put:{key:"a" value:"1"}}
		Txn success:{request_delete_range:{key:"a" range_end:"c"}} success:{request_put:{key:"b" value:"1"}}
		Txn success:{request_delete_range:{key:"a" range_end:"c"}} success:{request_put:{key:"c" value:"1"}}
		Txn success:{request_delete_range:{key:"c" range_end:"a"}} success:{request_put:{key:"b" value:"1"}}
		Txn success:{request_delete_range:{key:"b" range_end:"\x00"}} success:{request_put:{key:"c" value:"1"}}
		Txn success:{request_delete_range:{key:"b" range_end:"\x00"}} success:{request_put:{key:"a" value:"1"}}
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_txn:{success:{request_put:{key:"a" value:"2"}}}}
		Txn success:{request_txn:{success:{request_put:{key:"a" value:"2"}}}} success:{request_put:{key:"a" value:"1"}}
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_txn:{failure:{request_put:{key:"a" value:"2"}}}}
		Txn success:{request_txn:{success:{request_put:{key:"a" value:"1"}}}} success:{request_txn:{failure:{request_put:{key:"a" value:"2"}}}}
		Txn success:{request_txn:{success:{request_delete_range:{key:"a"}}}} success:{request_txn:{success:{request_put:{key:"a" value:"2"}}}}
		Txn success:{request_put:{key:"a" value:"1"}} success:{request_txn:{success:{request_delete_range:{key:"a" range_end:"b"}}}}
		Txn success:{request_delete_range:{key:"a"}} success:{request_txn:{success:{request_delete_range:{key:"a" range_end:"b"}}}}
		Txn success:{request_txn:{success:{request_put:{key:"a" value:"2"}} failure:{request_delete_range:{key:"a"}}}}
		Txn failure:{request_put:{key:"a" value:"1"}} failure:{request_put:{key:"a" value:"2"}}
		Range key:"a" range_end:"z"
	`},
	{"Txns that fail as a whole", `
		Put key:"a" value:"1"
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_put:{key:"b" lease:99}}
		Txn success:{request_put:{key:"b" lease:99}} success:{request_put:{key:"a" value:"x"}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_put:{key:"none" ignore_value:true}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_put:{key:"none" ignore_lease:true}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_put:{key:"b" value:"v" ignore_value:true}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_put:{key:"b" lease:9 ignore_lease:true}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:"a" revision:@100}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:"a" revision:@2}}
		Txn success:{request_range:{key:"a" revision:@2}}
		Txn success:{request_range:{key:"a" revision:-1}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:"a" revision:-1}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:""}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:"a" sort_order:9}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:"a" sort_target:9}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_put:{key:""}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_delete_range:{key:""}}
		Txn success:{request_put:{key:"a" value:"x"}} success:{}
		Txn failure:{}
		Txn compare:{key:""} success:{request_put:{key:"a" value:"x"}}
		Txn failure:{request_put:{key:"b" lease:99}}
		Txn failure:{request_put:{key:"" lease:99}}
		Txn success:{request_put:{key:"new" value:"1"}} success:{request_put:{key:"new2" ignore_value:true}}
		Txn success:{request_put:{key:"b" lease:99}} success:{request_range:{key:"a" revision:@100}}
		Txn success:{request_range:{key:"a" revision:@100}} success:{request_put:{key:"b" lease:99}}
		Txn success:{request_txn:{success:{request_put:{key:"b" lease:99}}}} success:{request_range:{key:"a" revision:@100}}
		Txn success:{request_put:{key:"b" lease:99}} success:{request_txn:{success:{request_range:{key:"a" revision:@100}}}}
		Txn success:{request_txn:{success:{request_range:{key:"a" revision:@100}}}} success:{request_put:{key:"b" lease:99}}
		Txn success:{request_put:{key:"none" ignore_value:true}} success:{request_put:{key:"b" lease:99}}
		Txn success:{request_put:{key:"b" lease:99}} success:{request_put:{key:"none" ignore_value:true}}
		Put key:"a" value:"2"
		Compact revision:@2
		Txn success:{request_put:{key:"a" value:"x"}} success:{request_range:{key:"a" revision:@1}}
		Txn success:{request_range:{key:"a" revision:@1}}
		Range key:"a" range_end:"z"
	`},
	{"the size of a Txn", `
		Txn ` + strings.Repeat(`compare:{key:"a" target:VERSION version:0} `, 128) + `
		Txn ` + strings.Repeat(`compare:{key:"a" target:VERSION version:0} `, 129) + `
		Txn ` + manyPuts("success", 128) + `
		Txn ` + manyPuts("success", 129) + `
		Txn ` + manyPuts("failure", 129) + `
		Txn ` + manyPuts("success", 128) + manyPuts("failure", 128) + `
		Txn success:{request_txn:{` + manyPuts("success", 127) + `}}
		Txn success:{request_txn:{` + manyPuts("success", 128) + `}}
		Txn success:{request_txn:{` + manyPuts("success", 64) + `}} ` + strings.Repeat(`success:{request_range:{key:"a"}} `, 63) + `
		Txn success:{request_txn:{` + manyPuts("success", 64) + `}} ` + strings.Repeat(`success:{request_range:{key:"a"}} `, 64) + `
		Txn success:{request_txn:{` + strings.Repeat(`compare:{key:"a"} `, 128) + `}}
		Txn success:{request_put:{key:"a" value:"` + tooBig + `"}}
	`},
	{"leases in a Txn", `
		LeaseGrant ID:7 TTL:500
		LeaseGrant ID:8 TTL:500
		Txn success:{request_put:{key:"a" lease:7}} success:{request_put:{key:"b" lease:8}}
		Txn success:{request_put:{key:"a" value:"v" ignore_lease:true}} success:{request_put:{key:"b" ignore_value:true}}
		LeaseTimeToLive ID:7 keys:true
		LeaseTimeToLive ID:8 keys:true
		Txn compare:{key:"a" target:LEASE lease:7} success:{request_delete_range:{key:"a"}}
		LeaseTimeToLive ID:7 keys:true
		LeaseRevoke ID:7
		LeaseRevoke ID:8
		Range key:"a" range_end:"z"
	`},
}

// everyComparison compares a key that is there, and one that is not, by every target and result with numbers on either
// side.
func everyComparison() string {
	operands := map[string][]string{
		"VERSION": {"version:1", "version:2", "version:3", "version:0", "version:-1"},
		"CREATE":  {"create_revision:@0", "create_revision:@1", "create_revision:@2", "create_revision:0"},
		"MOD":     {"mod_revision:@1", "mod_revision:@2", "mod_revision:@3", "mod_revision:0"},
		"VALUE":   {`value:"l"`, `value:"m"`, `value:"n"`, `value:""`},
		"LEASE":   {"lease:6", "lease:7", "lease:8", "lease:0"},
	}
	var b strings.Builder
	for target, values := range operands {
		for _, result := range []string{"EQUAL", "GREATER", "LESS", "NOT_EQUAL"} {
			for _, value := range values {
				for _, key := range []string{"a", "none"} {
					fmt.Fprintf(&b, "Txn compare:{key:%q target:%s result:%s %s}\n", key, target, result, value)
				}
			}
		}
	}
	return b.String()
}

func manyPuts(branch string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%s:{request_put:{key:"k%d" value:"v"}} `, branch, i)
	}
	return b.String()
}
