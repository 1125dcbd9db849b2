package resp

import (
	"log/slog"
	"time"
)

// Options are the adapter's limits and choices. The zero value of each field stands for its default.
type Options struct {
	// MaxRequestBytes is the longest argument; longer ones are a protocol error. Default 1.5 MiB, as for every protocol
	// of the server: a value that Redis could store must be one that the others can return.
	MaxRequestBytes int
	// MaxArguments is the largest number of arguments of one request. Default 1,048,576, as in Redis.
	MaxArguments int
	// MaxInlineBytes is the longest line: an inline request, or the head of an array or a bulk. Default 64 KiB.
	MaxInlineBytes int
	// MaxQueryBytes bounds what a connection holds of one request, and of the requests that MULTI has queued.
	// Default 64 MiB.
	MaxQueryBytes int
	// MaxNames is how many keys a connection may watch, and how many channels and patterns it may subscribe to. Default
	// 1,048,576.
	MaxNames int
	// MaxGroupCommands and MaxGroupBytes bound the run of pipelined writes that enters the log as one group. Defaults
	// 1,024 and 1 MiB.
	MaxGroupCommands int
	MaxGroupBytes    int
	// MaxOutputBytes is what may wait for a slow subscriber before it is disconnected. Default 32 MiB, as in Redis.
	MaxOutputBytes int
	// MaxTrackedKeys is how many keys that clients have read are remembered for CLIENT TRACKING, over all clients; beyond
	// it the oldest are invalidated at once. Default 1,000,000, as in Redis.
	MaxTrackedKeys int
	// NotifyKeyspaceEvents is the setting notify-keyspace-events as the server starts. Default none; see
	// CheckEventClasses.
	NotifyKeyspaceEvents string
	// LocalReads answers reads from this node's state, without asking whether it is the latest.
	LocalReads bool
	// AlwaysMaster makes INFO and ROLE say master on every node, for clients that refuse to write to what calls itself a
	// replica, although every node takes writes.
	AlwaysMaster bool
	// Version is the server's own version, for INFO.
	Version string
	// Logger takes what operators should know. Default slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	defaultInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	defaultInt(&o.MaxRequestBytes, 1<<20+1<<19)
	defaultInt(&o.MaxArguments, 1<<20)
	defaultInt(&o.MaxInlineBytes, 64<<10)
	defaultInt(&o.MaxQueryBytes, 64<<20)
	defaultInt(&o.MaxNames, 1<<20)
	defaultInt(&o.MaxGroupCommands, 1024)
	defaultInt(&o.MaxGroupBytes, 1<<20)
	defaultInt(&o.MaxOutputBytes, 32<<20)
	defaultInt(&o.MaxTrackedKeys, 1_000_000)
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

const (
	// redisVersion is what clients are told: they choose features by it. 7.4 is the generation whose commands and
	// replies this adapter follows.
	redisVersion = "7.4.0"

	// databases is the number of spaces, each a Redis database.
	databases = 16

	// outputFlushBytes is how much a connection gathers before it writes in the middle of a pipeline.
	outputFlushBytes = 64 << 10

	// keptBufferBytes is the largest buffer that an idle connection keeps.
	keptBufferBytes = 64 << 10

	// scanPage is how many keys are looked at in one step by commands that walk a whole database.
	scanPage = 1000
)

func nowMillis() int64 { return time.Now().UnixMilli() }
