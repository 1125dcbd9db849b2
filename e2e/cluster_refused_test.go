package e2e

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

// Members that do not belong: refused, with words that tell an operator what is wrong.

// refuses runs a member and returns what it said when it ended by itself.
func (c *cluster) refuses(m *member) string {
	c.t.Helper()
	c.spawn(m)
	select {
	case <-m.exited:
		m.up.Store(false)
	case <-time.After(patience):
		c.t.Fatalf("%s was not refused\n%s", m.name, m.log())
	}
	if m.exit == nil {
		c.t.Errorf("%s ended without an error\n%s", m.name, m.log())
	}
	return m.log()
}

// set replaces the value of a flag.
func (m *member) set(flag, value string) {
	if at := slices.Index(m.args, flag); at >= 0 {
		m.args[at+1] = value
		return
	}
	m.args = append(m.args, flag, value)
}

func (c *cluster) expectWords(said, what, words string) {
	c.t.Helper()
	if !regexp.MustCompile(words).MatchString(said) {
		c.t.Errorf("%s: it does not say %q:\n%s", what, words, said)
	}
}

func TestAMemberThatWasRemovedIsNotLetInAgain(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.awaitLeader()
	others := c.followers(leader)

	// One that runs ends by itself.
	gone := others[0]
	c.removeMember(gone.id(t))
	c.awaitEnd(gone)
	c.expectWords(gone.log(), "a member that is removed", "removed")
	c.expectWords(c.refuses(gone), "a member that was removed and comes back", "removed")
	c.setMembers([]*member{leader, others[1]})
	c.awaitService()

	// One that is down when it is removed finds out when it comes back.
	down := others[1]
	id := down.id(t)
	added := c.join(2)
	c.kill(down)
	c.removeMember(id)
	c.expectWords(c.refuses(down), "a member that was removed while it was down", "removed")
	c.setMembers([]*member{leader, added})
	c.awaitService()
}

func TestAMemberOfAnotherClusterIsRefused(t *testing.T) {
	c := newCluster(t, 3)
	stranger := c.all()[2]
	stranger.set("--initial-cluster-token", "another")
	for _, m := range c.all()[:2] {
		c.spawn(m)
	}
	for _, m := range c.all()[:2] {
		m.awaitPing()
	}
	c.expectWords(c.refuses(stranger), "a member with another token", "another cluster.*token")
	c.setMembers(c.all()[:2])
	c.awaitService()
}

func TestADataDirectoryIsOfOneMemberAlone(t *testing.T) {
	c := startCluster(t, 3)
	m := c.all()[1]
	c.leave(m)
	args := slices.Clone(m.args)
	for _, change := range []struct{ flag, value, words string }{
		{"--name", c.all()[0].name, `(?i)name|advertise`},
		{"--initial-cluster-token", "another", `token`},
	} {
		m.args = slices.Clone(args)
		m.set(change.flag, change.value)
		c.expectWords(c.refuses(m), "a directory with another "+change.flag, change.words)
	}
	m.args = args
	c.start(m)
	c.awaitService()
}

func TestAMemberThatWasNotAddedIsToldHowToBeAdded(t *testing.T) {
	c := startCluster(t, 3)
	m := c.newMember(3, freePorts(t, 5))
	c.setMembers(append(c.all(), m))
	c.tellCluster(m, c.initialCluster(), "existing")
	c.expectWords(c.refuses(m), "a member that was not added", "triglot member add")
	c.setMembers(c.all()[:3])
	c.awaitService()
}
