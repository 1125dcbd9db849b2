// Package transport carries raft's messages, snapshots and questions between members, in frames over TCP, TLS or Unix sockets.
// It implements raftlog.Transport and knows of raft only which messages are urgent.
//
// # Connections
//
// A member sends by calling; what others send comes with their calls. For each other member there are up to five
// connections that it made, and as many that the other one made. Each is for one purpose:
//
//	                 this member                                 another one
//	Send ──┬─urgent─► queue ─► link ═══ URGENT ════════════════► lane ─► Handler.Receive
//	       │                   probe ══ PINGS ═════════════════►
//	       └─bulk───► queue ─► link ═══ BULK ══════════════════► lane ─► Handler.Receive
//	SendSnapshot ────────────► sending ═ SNAPSHOT ═════════════► Incoming, then Handler.Receive
//	Call ──────────────────────────────═ QUESTIONS ════════════► Handler.ServeCall
//
// So neither a full buffer nor a lost packet of one of them delays another. What a link finds waiting goes into one frame,
// which one system call writes; there is no goroutine between Send and the socket but the link, nor between the socket and
// Handler.Receive but that of the connection.
//
// # Goroutines
//
// All are started after Start, counted in Transport.running, and ended by Stop, which waits for them:
//
//   - listen (server.go), one for each listener: accepts connections until the transport ends.
//   - serve (server.go), one for each connection that another member made. It ends with the connection, or with the
//     transport. One of questions has a goroutine for each of them (answer.go), which it waits for.
//   - link (link.go), two for each member of the address book and each guest: connects, sends what is queued, and begins
//     again. It ends when the member leaves, or when Stop begins and the queue is empty.
//   - the receiver of a link (link.go): waits for the end of the connection, and the word for it. Its link waits for it.
//   - probe (probe.go), one for each urgent link that is connected: pings. Its link waits for it.
//   - receive (call.go), one for each member that was asked something: hands out answers. Ends with the connection.
//   - sending (snapshot_send.go), one for each snapshot on its way out, one snapshot for each member, with one that receives
//     what the other side says. Ends with its done.
//   - the waiter of Stop (transport.go): waits for the links.
//
// Channels hold a token each ("there is something to send", "do not wait for the next attempt"): senders never wait.
package transport
