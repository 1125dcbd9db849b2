package zkcompat

import "errors"

// Which connection a session has. A session moves when its client connects again, to this node or another: the command
// that resumes it names the new connection as its owner, and from then on the store refuses whatever the old one still had
// on its way. All nodes apply the move in its place in the log, and the one with the old connection cuts that.

// errTaken ends a connection whose session has another one.
var errTaken = errors.New("the session was taken over by another connection")

// claim makes a connection that of a new session, unless there is one with that id.
func (s *Server) claim(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[c.session] != nil {
		return false
	}
	s.sessions[c.session] = c
	return true
}

// arrive notes that a session may move to a connection soon.
func (s *Server) arrive(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arriving[c.owner] = c
}

// leave forgets a session's connection, unless it has another one by now.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.arriving, c.owner)
	if s.sessions[c.session] == c {
		delete(s.sessions, c.session)
	}
}

// sessionMoved is called by the store's apply goroutine when a session has another owner, here or on another node. It only
// tells the old connection's processor.
func (s *Server) sessionMoved(id int64, owner uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.sessions[id]; old != nil && old.owner != owner {
		delete(s.sessions, id)
		old.cancel(errTaken)
	}
	if c := s.arriving[owner]; c != nil {
		delete(s.arriving, owner)
		s.sessions[id] = c
	}
}

// sessionsOver ends the connections of sessions that have ended: expired, or revoked through any protocol. It is called
// by the store's apply goroutine and only tells the connections' processors.
func (s *Server) sessionsOver(ids []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if c := s.sessions[id]; c != nil {
			c.cancel(errSessionOver)
		}
	}
}
