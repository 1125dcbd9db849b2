// Package zkcompat speaks ZooKeeper's client protocol: it decodes jute packets, translates requests into core's commands
// and views, and writes the answers. It holds no state of its own beyond connections and their watches; sessions are
// leases with a password, nodes are keys of the shared space.
//
// A request, from socket to socket:
//
//	        packets              requests in order             Txns
//	socket ────────▶ reader ─────────────────────▶ processor ────────▶ core.Store.Submit
//	                   │ notes it                     │ │ ▲
//	                   ▼                              │ │ └── results, views, watch events (core.Feed)
//	                renewer ──▶ core.Store.KeepAliveAll│ ▼
//	socket ◀──────────────────────────────────────── answers, gathered and written when no more is ready
//
// Goroutines:
//
//   - Each connection has a processor, started by Serve. It does the handshake, owns the watches and everything that is
//     written, and ends the connection.
//   - Each connection has a reader, started by the processor after the handshake and awaited by it. It ends when the
//     socket fails or is silent for too long, and stops reading while too much is unanswered (back-pressure).
//   - The renewer has one for the server, started by New and ended by Shutdown: it renews the sessions of all connections
//     that have sent something. Timers of its own cancel the contexts of connections that could not be renewed for too long.
//     A reader waits for it when the session may be over for all that this member knows.
//   - Shutdown has one, for its own duration.
//
// The store's apply goroutine calls in when sessions end or move, which only cancels their connections' contexts.
//
// The order that ZooKeeper promises to a session is kept like this:
//
//   - Answers go out in the order of the requests, since one goroutine writes them.
//   - Writes that follow each other are submitted without waiting, so that they share log entries. A read waits for the
//     answers of all writes before it, and the writes after it wait for the read: it sees exactly what was asked for
//     before it.
//   - An answer carries the revision of the view or the result it was made from, as its zxid. Before it is written, all
//     watch events of changes up to that revision are; those of later changes wait for a later answer, or until nothing
//     is in flight. Events are sent only of revisions that the hub has published as a whole. The client therefore sees
//     changes, by events and answers, in the order in which they happened.
//   - A watch is registered from the revision after the view that its request was answered from.
package zkcompat
