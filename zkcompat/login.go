package zkcompat

import (
	"strings"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Who a connection speaks for. Users are those of all three protocols: while authentication is on, addauth with the scheme
// digest takes the name and the password of one, and what its roles allow holds for paths as it does for keys. A session can
// be made, kept and ended by nobody.

// sight is what of the tree a request looks at.
type sight uint8

const (
	atNothing sight = iota
	atNode          // the node at its path
	atSubtree       // and all below it
	atWatched       // what it asks to watch from now on
	atRenewed       // what it had watched before its connection was lost
)

// permitted says whether the view's caller may look where a request does.
func permitted(r *request, v *core.View) code {
	if on, _ := v.Auth(); !on {
		return codeOK
	}
	var err error
	switch r.op.looks {
	case atNode:
		err = permitNode(v, r.path)
	case atSubtree:
		err = permitSubtree(v, r.path)
	case atWatched:
		if err = permitNode(v, r.path); err == nil && r.mode == addRecursive {
			err = permitSubtree(v, r.path)
		}
	case atRenewed:
		err = permitRenewed(v, r.renewed)
	}
	return codeOf(err)
}

func permitNode(v *core.View, path string) error { return v.Permit([]byte(readPath(path)), nil, false) }

// permitSubtree asks for the node and for every path that goes on from it with a slash.
func permitSubtree(v *core.View, path string) error {
	if err := permitNode(v, path); err != nil {
		return err
	}
	below := strings.TrimSuffix(readPath(path), "/")
	return v.Permit([]byte(below+"/"), []byte(below+string(rune('/'+1))), false)
}

func permitRenewed(v *core.View, w *renewedWatches) error {
	for _, paths := range [][]string{w.data, w.exist, w.children, w.persistent} {
		for _, path := range paths {
			if err := permitNode(v, path); err != nil {
				return err
			}
		}
	}
	for _, path := range w.recursive {
		if err := permitSubtree(v, path); err != nil {
			return err
		}
	}
	return nil
}

// readAuth answers addauth. The scheme ip needs no proof; digest takes a user's name and password. A client that relies on
// anything else must not go on as if it were known.
func readAuth(c *conn, r *request, _ *core.View, _ *encoder) code {
	on, _ := c.store.AuthEnabled()
	switch {
	case r.scheme == "ip":
		return codeOK
	case r.scheme == "digest" && on:
		name, password, _ := strings.Cut(string(r.data), ":")
		_, err := c.store.CheckPassword(c.ctx, name, password)
		if err == nil {
			c.caller = &corepb.Caller{User: name, AuthRevision: core.AuthRevisionAny}
			return codeOK
		}
		c.log.Warn("zookeeper authentication refused", "user", name, "err", err)
	case r.scheme == "digest":
		c.log.Warn("zookeeper authentication refused: authentication is off, and there are no users to be", "scheme", r.scheme)
	default:
		c.log.Warn("zookeeper authentication refused: the scheme is not supported", "scheme", r.scheme)
	}
	c.ending = true
	return codeAuthFailed
}

// readWhoAmI lists the connection's identities: its address, and the user that it speaks for.
func readWhoAmI(c *conn, _ *request, _ *core.View, e *encoder) code {
	identities := [][2]string{{"ip", c.host()}}
	if c.caller != nil {
		identities = append(identities, [2]string{"digest", c.caller.User})
	}
	e.length(len(identities))
	for _, identity := range identities {
		e.string(identity[0])
		e.string(identity[1])
	}
	return codeOK
}
