package zkcompat

import "fmt"

// There is one ACL so far: everybody may do everything. A node with another one would look protected and not be, so such
// a request is refused.
const (
	permsAll    = 31 // read, write, create, delete, admin
	permsRead   = 1
	openScheme  = "world"
	openID      = "anyone"
	aclBytesMin = 12 // perms, and the lengths of scheme and id
)

// decodeACL reads an ACL and reports whether it is the open one; if it is not, why.
func decodeACL(d *decoder) (open bool, reason string) {
	n := d.count(aclBytesMin)
	if n == 0 {
		return false, "it is empty"
	}
	open = true
	for range n {
		perms, scheme, id := d.int32(), d.string(), d.string()
		if open && (perms != permsAll || scheme != openScheme || id != openID) {
			open = false
			reason = fmt.Sprintf("%s:%s with permissions %d; only %s:%s with %d is supported",
				scheme, id, perms, openScheme, openID, permsAll)
		}
	}
	return open, reason
}

// acl writes an ACL of one entry, for everybody.
func (e *encoder) acl(perms int32) {
	e.length(1)
	e.int32(perms)
	e.string(openScheme)
	e.string(openID)
}
