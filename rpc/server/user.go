package server

import (
	"context"
	"os"

	"golang.org/x/sync/semaphore"
)

// A user is what the connections of one user share. A user can open many connections and send much on each: what exceeds
// the user's share waits unread, so that other users are served.
type user struct {
	conns int
	bytes *semaphore.Weighted
}

// admit counts a connection. If there are too many it returns the limit that is reached.
func (s *Server) admit(c *conn) (limit int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[c.peer.UID]
	if u == nil {
		u = &user{bytes: semaphore.NewWeighted(int64(s.opt.MaxUserBytes))}
	}
	limit = s.opt.MaxConnections
	if c.peer.UID != 0 && int(c.peer.UID) != os.Geteuid() {
		limit -= limit / 8
		if u.conns >= s.opt.MaxPerUser {
			return s.opt.MaxPerUser, false
		}
	}
	if len(s.conns) >= limit {
		return limit, false
	}
	u.conns++
	s.users[c.peer.UID], s.conns[c], c.user = u, struct{}{}, u
	return limit, true
}

func (s *Server) closed(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.user.conns--; c.user.conns == 0 {
		delete(s.users, c.peer.UID)
	}
}

// take waits for room for a message, give returns it.
func (u *user) take(ctx context.Context, message []byte) {
	_ = u.bytes.Acquire(ctx, int64(len(message))) // no error: the context of connections does not end, and no message is larger than the share
}

func (u *user) give(message []byte) { u.bytes.Release(int64(len(message))) }
