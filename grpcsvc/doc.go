// Package grpcsvc speaks etcd's v3 API over gRPC: it decodes requests, translates them into commands of core, and words
// the results as etcd 3.7.3 does. It changes no state of its own accord and keeps none beyond its open streams.
//
// A request is followed by reading down: h2 (connections and calls) → server.go (the services) → kv.go, lease.go … (one method
// per RPC: check, translate, run, answer) → keyvalue.go and txn.go (translation) → errors.go (the one place where core's errors
// become etcd's codes and words).
//
// Goroutines, beside those of h2, one of which runs each handler:
//
//   - receiver (stream.go): one for each open watch or keep-alive stream; reads requests and hands them to the handler,
//     which alone touches the stream's state and alone sends. It ends when its stream does; Shutdown waits for it.
//   - leadership.run (leadership.go): one, from New to Shutdown; follows the leader and ends the streams that depend on it.
//   - followHealth (health.go): one, from New to Shutdown; follows leader and alarms.
package grpcsvc
