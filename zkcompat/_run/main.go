package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"log/slog"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/zkcompat"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelDebug)
	s, err := core.Open(core.Config{Dir: os.Args[2], Name: "n1"})
	if err != nil { panic(err) }
	srv := zkcompat.New(s, zkcompat.Options{})
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil { panic(err) }
	go srv.Serve(l)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	<-c
	srv.Shutdown(context.Background())
	s.Close()
}
