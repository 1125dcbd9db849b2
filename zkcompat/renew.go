package zkcompat

import "github.com/triglot/triglot/core"

// renewWatches sets the watches of a client that has come back. What changed since the client last saw the server is told
// at once, by the state of the nodes and not by their history, in place of the watch.
func renewWatches(c *conn, r *request, v *core.View) {
	w := r.renewed
	renew := func(kind watchKind, paths []string, changed func(core.Stat, bool) int32) {
		for _, path := range paths {
			event := int32(0)
			if changed != nil {
				event = changed(nodeStat(v, path))
			}
			if event != 0 {
				c.out.event(event, path)
				continue
			}
			if c.watches.add(kind, path, v.Revision()+1) != codeOK {
				// The client does not look at this answer, and would wait for events that never come.
				c.ending = true
			}
		}
	}
	since := func(zxid func(core.Stat) int64, event int32) func(core.Stat, bool) int32 {
		return func(stat core.Stat, ok bool) int32 {
			switch {
			case !ok:
				return eventDeleted
			case zxid(stat) > w.seen:
				return event
			}
			return 0
		}
	}
	renew(watchData, w.data, since(func(s core.Stat) int64 { return s.Mzxid }, eventDataChanged))
	renew(watchData, w.exist, func(_ core.Stat, ok bool) int32 {
		if ok {
			return eventCreated
		}
		return 0
	})
	renew(watchChildren, w.children, since(func(s core.Stat) int64 { return s.Pzxid }, eventChildrenChanged))
	renew(watchPersistent, w.persistent, nil)
	renew(watchRecursive, w.recursive, nil)
}
