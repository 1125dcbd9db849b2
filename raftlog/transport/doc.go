// Package transport carries raft's messages, snapshots and questions between members over gRPC. It implements
// raftlog.Transport and knows of raft only which messages are urgent.
//
// # Connections
//
// A member sends by calling; what others send comes with their calls. For each other member there are up to four TCP
// connections that it made, and as many that the other one made:
//
//	                 this member                                        another one
//	Send ──┬─urgent─► queue ─► link ═══ stream Urgent, Ping ═══════════► lane ─► Handler.Receive
//	       └─bulk───► queue ─► link ═══ stream Bulk ═══════════════════► lane ─► Handler.Receive
//	SendSnapshot ────────────► sending ═ stream Snapshot ══════════════► Incoming, then Handler.Receive
//	Call ──────────────────────────────═ Call ═════════════════════════► Handler.ServeCall
//
// So neither a full buffer nor a lost packet of one of them delays another. What a link finds waiting goes into one frame,
// and there is no goroutine between Send and gRPC but the link, nor between gRPC and Handler.Receive but that of the stream.
//
// # Goroutines
//
// All are started after Start, counted in Transport.running, and ended by Stop, which waits for them. Beside those of the
// gRPC library, one of which runs each served call:
//
//   - server: accepts connections. Ends when Stop stops the gRPC server.
//   - link (link.go), two for each member of the address book and each guest: connects, sends what is queued, and begins
//     again. It ends when the member leaves, or when Stop begins and the queue is empty.
//   - the receiver of a link's stream (link.go): waits for its end. Its link waits for it.
//   - probe (probe.go), one for each urgent stream that stands: pings. Its link waits for it.
//   - sending (snapshot_send.go), one for each snapshot on its way out, one snapshot for each member. Ends with its done.
//   - the waiter of Stop (transport.go): waits for the links.
//
// Channels hold a token each ("there is something to send", "do not wait for the next attempt"): senders never wait.
package transport
