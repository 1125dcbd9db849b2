package main

import (
	"context"
	"net"
	"os"
	"testing"
	"time"
)

// The test's program is the server that it starts: with an address in this variable it says OK to everything there.
const serveVariable = "BENCH_TEST_SERVE"

func TestMain(m *testing.M) {
	address := os.Getenv(serveVariable)
	if address == "" {
		os.Exit(m.Run())
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	serveOK(listener)
}

func okServer() Server {
	return Server{
		Name: "ok", Target: "redis://{{.Hosts `client`}}",
		Command: []string{"/usr/bin/env", serveVariable + "=127.0.0.1:{{.Port `client`}}", os.Args[0]},
	}
}

func TestAServerIsKeptThroughStopAndKill(t *testing.T) {
	cfg := defaultConfig
	cfg.Keys = 950
	kept, err := keep(context.Background(), okServer(), cfg, t.TempDir(), rests{idle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if kept.Keys != 1000 || kept.LoadPerSec <= 0 || kept.AfterStop <= 0 || kept.AfterKill <= 0 {
		t.Errorf("kept %+v", kept)
	}
	if kept.IdleRSS == 0 || kept.RSSLoaded == 0 || kept.RSS == 0 || kept.RSSRestarted == 0 || kept.Data == 0 {
		t.Errorf("no memory or disk in %+v", kept)
	}
}

func TestOnlySingleServersAreRestarted(t *testing.T) {
	cluster := okServer()
	cluster.Nodes = 3
	if _, err := keep(context.Background(), cluster, defaultConfig, t.TempDir(), rests{}); err == nil {
		t.Error("a cluster was restarted")
	}
}
