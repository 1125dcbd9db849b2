package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// stopSignal gives a channel that is closed at the first SIGTERM or SIGINT. The second one ends the process at once:
// whoever sends it does not want to wait for a clean end, and the log has everything that was acknowledged.
func stopSignal(logger *slog.Logger) <-chan struct{} {
	arrived := make(chan os.Signal, 2) // both signals, should nobody have looked in between
	signal.Notify(arrived, syscall.SIGTERM, syscall.SIGINT)
	stop := make(chan struct{})
	go func() {
		logger.Info("stopping", "signal", (<-arrived).String())
		close(stop)
		logger.Warn("stopping at once", "signal", (<-arrived).String())
		os.Exit(1)
	}()
	return stop
}
