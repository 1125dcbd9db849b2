// Package h2 serves gRPC over HTTP/2 (RFC 9113, and gRPC's "PROTOCOL-HTTP2"), and whatever else comes over HTTP/2 to a handler of
// net/http. It takes services as grpc.Server does, and their handlers see what they see there. It exists because a call
// through grpc.Server costs more than all that the store does for it: here a request is decoded where it stands in the buffer, a
// short answer is one append to what the connection is about to write, and requests on one connection share the system calls.
//
// A request is followed by reading down: conn.go (a connection's life, and its frames) → receive.go (what each frame does) →
// header.go (whose call it is) → call.go (the handler) → stream.go (messages; context.go is what handlers see of it) → send.go (frames out).
//
// Goroutines:
//
//   - a reader for each connection (conn.serve), from Serve to the connection's end. It alone reads, decodes headers, and opens
//     streams. It waits for the connection's handlers before it ends.
//   - at times a goroutine (send.go, writeElsewhere) that writes what the reader has to answer, until it is written.
//   - workers (call.go), one for each call that is being handled, used again for the next; those that are idle end with Shutdown.
//   - the waiter of Shutdown (server.go): ends when every connection has.
//
// Whether a silent client is still there is asked by a timer for each connection (keepalive.go).
//
// Nobody is the writer: whoever has put something into a connection's buffer writes what is in it, unless somebody does so at
// that moment, who then writes that as well.
package h2
