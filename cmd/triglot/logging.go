package main

import (
	"io"
	"log/slog"

	"google.golang.org/grpc/grpclog"
)

// logLibraries brings what gRPC and the JSON gateway log by themselves into the log: it is about clients' mistakes, and
// would go to stderr in a form of its own.
func logLibraries(logger *slog.Logger) {
	out := slog.NewLogLogger(logger.Handler(), slog.LevelDebug).Writer()
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, out))
}

// newLogger makes the process's logger. The level and the format have been checked with the settings.
func newLogger(cfg *config, out io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
