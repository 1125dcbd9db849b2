// Package resp is the Redis adapter: it decodes RESP2 and RESP3 requests, translates them into core commands and
// formats the results in Redis' own words. It holds no state of the keyspace and no logic that changes it.
//
// A request is followed by reading down: parser (parse.go) → conn (conn.go) → command (table.go) → its plan
// (strings.go, keys.go, hashes.go, lists.go …) → core → the plan's formatter → writer (reply.go) → socket.
//
// Goroutines:
//
//	accept loop   one per Serve call; the caller's; ends when the listener closes
//	conn.serve    one per connection; owned by Server, ends with the connection; Shutdown waits for it
//	Shutdown      one while it waits for connections to end, which is before it returns
//	lookout.run   one while a connection is blocked in BLPOP and the like: reads ahead, so that a hang-up is noticed;
//	              started and joined by the connection's goroutine
//	outbox.run    one per connection that was ever given a message: writes its output; ends when the connection closes
//	pubsub.run    one per Server: hands published messages and keyspace notifications to subscribers; ends in Shutdown
//	tracking.run  one per connection while CLIENT TRACKING is on: tells which keys have changed; joined by the
//	              connection's goroutine, which turns it off or ends
//	blockers.run  one per Server: wakes blocked clients when their keys change; ends in Shutdown
package resp
