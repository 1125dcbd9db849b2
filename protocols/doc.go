// Package protocols owns the sockets: it listens, finds out which protocol a connection speaks, counts and lists who is
// connected, and hands each connection to the adapter of its protocol. It does not know what the bytes mean beyond the
// first few that tell the protocols apart; the adapters do not know that there is more than one listener.
//
// # What flows
//
//	dedicated port ── accept ──────────────────┐
//	                                           ├─► Listener(protocol).Accept ─► adapter
//	shared port ───── accept ── recognise ─────┘
//	                               └─ not one of ours, silent, over the limit: closed, with a reason in the log
//
// A port that takes TLS has a handshake in between, and then hands over a SecureConn, on which what is recognised has been
// decrypted. One that takes both looks at the first byte.
//
// # Goroutines
//
//   - one accept loop per bound address: started by Start, ends when StopAccepting closes its socket;
//   - one recogniser per connection of the shared port, or of one that takes TLS: ends when the connection is handed over or closed, after the
//     handshake time-out at the latest; StopAccepting closes the connections that are still in it.
//
// Both are owned by the Server and waited for in Shutdown. A hand-over channel has no capacity: a connection that no
// adapter has taken yet is the accept loop's or the recogniser's, so that nobody has to look for it at the end.
//
// # Locks
//
// Server.mu guards the life of the server (bound addresses, started, stopping); registry.mu guards the list of
// connections, and feed.mu the addresses of one protocol. No two are held at once but feed.mu under Server.mu, and none
// during a socket call but Server.mu while the ports are closed.
package protocols
