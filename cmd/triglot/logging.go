package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/pflag"
	"google.golang.org/grpc/grpclog"
)

// logLibraries brings what gRPC and the JSON gateway log by themselves into the log: it is about clients' mistakes, and
// would go to stderr in a form of its own.
func logLibraries(logger *slog.Logger) {
	out := slog.NewLogLogger(logger.Handler(), slog.LevelDebug).Writer()
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, out))
}

// The words of --log-output that are no files.
const (
	logToStderr = "stderr"
	logToStdout = "stdout"
)

// openLog opens what the log goes to. Files are appended to, and stay open for as long as the process runs.
func openLog(cfg *config, stderr io.Writer) (io.Writer, error) {
	var all []io.Writer
	for _, to := range splitList(cfg.LogOutput) {
		switch to {
		case logToStderr:
			all = append(all, stderr)
		case logToStdout:
			all = append(all, os.Stdout)
		default:
			file, err := os.OpenFile(to, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return nil, fmt.Errorf("--log-output: %w", err)
			}
			all = append(all, file)
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return io.MultiWriter(all...), nil
}

// logOutput takes at least one place.
func logOutput(at *string, value string) pflag.Value {
	*at = value
	return parsed[string]{at, "places", func(s string) (string, error) {
		if len(splitList(s)) == 0 {
			return "", errors.New("it is stderr, stdout or the path of a file, or several with a comma between")
		}
		return s, nil
	}, func(s string) string { return s }}
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
