package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// zkGenerator draws requests over few nodes.
type zkGenerator struct {
	*rand.Rand
	pair *zkPair
}

func (g zkGenerator) path() string {
	return pick(g.Rand, "~", "~/a", "~/b", "~/c", "~/a/x", "~/a/y", "~/b/x", "~/a/x/z", "~/none/x")
}

func (g zkGenerator) data() string { return pick(g.Rand, "-", "x", "yy", "zzz", large) }

// version is any of a few: most often the one that always fits.
func (g zkGenerator) version() int { return pick(g.Rand, -1, -1, -1, -1, 0, 1, 2, 3) }

func (g zkGenerator) create(verb string) string {
	mode := pick(g.Rand, "p", "p", "p", "e", "ps", "es")
	path := g.path()
	if strings.HasSuffix(mode, "s") {
		path = pick(g.Rand, "~/s-", "~/a/s-", "~/b/t-", "~/none/s-", "~/a/x/")
	}
	switch verb {
	case "createcontainer":
		path, mode = g.path(), "c"
	case "createttl":
		path, mode = g.path(), "ttl 100000000"
	}
	return fmt.Sprintf("%s %s %s %s", verb, path, g.data(), mode)
}

func (g zkGenerator) write() string {
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		return g.create("create")
	case 4:
		return g.create(pick(g.Rand, "create2", "create2", "createcontainer", "createttl"))
	case 5, 6, 7:
		return fmt.Sprintf("delete %s %d", g.path(), g.version())
	case 8, 9:
		return fmt.Sprintf("set %s %s %d", g.path(), g.data(), g.version())
	default:
		items := []string{"multi"}
		for range 1 + g.IntN(4) {
			switch g.IntN(6) {
			case 0, 1:
				items = append(items, g.create(pick(g.Rand, "create", "create2")))
			case 2, 3:
				items = append(items, fmt.Sprintf("set %s %s %d", g.path(), g.data(), g.version()))
			case 4:
				items = append(items, fmt.Sprintf("delete %s %d", g.path(), g.version()))
			case 5:
				items = append(items, fmt.Sprintf("check %s %d", g.path(), g.version()))
			}
		}
		return items[0] + " " + strings.Join(items[1:], " ; ")
	}
}

func (g zkGenerator) read() string {
	switch g.IntN(10) {
	case 0:
		return "sync " + g.path()
	case 1:
		return "countall " + g.path()
	case 2:
		return fmt.Sprintf("multiread get %s ; children %s ; get %s", g.path(), g.path(), g.path())
	case 3:
		return fmt.Sprintf("setwatches w%d data=%s,%s exist=%s child=%s", max(0, g.pair.writes-g.IntN(12)), g.path(), g.path(),
			g.path(), g.path())
	default:
		return pick(g.Rand, "exists", "get", "children", "children2") + " " + g.path() + pick(g.Rand, "", " w")
	}
}

func TestRandomZooKeeperRequestsAreAnsweredAsZooKeeperDoes(t *testing.T) {
	const steps = 2000
	p := startZKPair(t)
	p.begin(t, "random")
	g := zkGenerator{randomSource(t), p}
	clients := []string{"1", "2", "3"}
	// The third client only watches, by watches that stay: in ZooKeeper 3.8.0 those and the ones that go displace each
	// other on one path.
	p.line("3: addwatch ~ 1")
	p.line("1: events")
	p.line("2: events")
	differences := 0
	check := func(line string) {
		if !p.line(line) {
			differences++
		}
	}
	for step := 1; step <= steps && differences < differencesMax; step++ {
		client := pick(g.Rand, "1", "2")
		p.unordered = false
		switch {
		case chance(g.Rand, 100):
			p.unordered = true // ZooKeeper deletes a session's nodes in no order
			check(client + ": close")
			check(client + ": closed")
			for _, c := range p.conns[client] {
				c.Close()
			}
			delete(p.conns, client)
		case chance(g.Rand, 100):
			check(client + ": drop")
			check(client + ": resume " + client)
		case chance(g.Rand, 2):
			check(client + ": " + g.read())
			continue
		default:
			check(client + ": " + g.write())
		}
		// What a client has to hear of, it hears before an answer that shows it.
		for _, c := range clients {
			check(c + ": events")
		}
	}
	paths := []string{"~"}
	for len(paths) > 0 {
		check("1: get " + paths[0])
		check("1: children2 " + paths[0])
		paths = append(paths[1:], p.childrenOf(paths[0])...)
	}
}

// childrenOf asks ZooKeeper.
func (p *zkPair) childrenOf(path string) (paths []string) {
	c := p.conn("1")[1]
	q := p.request("children", []string{strings.Replace(path, "~", p.base, 1)}, false)
	w := &juteWriter{}
	w.int(1)
	w.int(q.op)
	c.send(append(w.b, q.body.b...))
	c.answer(func(r *juteReader) string {
		for _, name := range r.texts() {
			paths = append(paths, path+"/"+name)
		}
		return ""
	}, nil)
	return paths
}
