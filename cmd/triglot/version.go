package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the release. A build may set it: go build -ldflags '-X main.version=1.2.3'.
var version = "0.1.0"

// What clients may take it for.
var speaks = []string{
	"etcd API 3.7.3",
	"Redis 7.4-compatible RESP2 and RESP3",
	"ZooKeeper 3.8 protocol",
}

func versionText() string {
	text := fmt.Sprintf("triglot %s%s\n%s %s/%s\n", version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, protocol := range speaks {
		text += protocol + "\n"
	}
	return text
}

// commit is what the Go tool noted about the source at build time, if it did.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var revision, modified string
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			revision = setting.Value
		case "vcs.modified":
			modified = setting.Value
		}
	}
	if len(revision) < 12 {
		return ""
	}
	if modified == "true" {
		return " (" + revision[:12] + ", modified)"
	}
	return " (" + revision[:12] + ")"
}
