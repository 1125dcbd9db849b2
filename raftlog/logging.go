package raftlog

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// raftLogger sends what the raft library says to slog. Its Info is the library's own account of every election step,
// of use only to someone who debugs raft.
type raftLogger struct{ l *slog.Logger }

func (r raftLogger) print(level slog.Level, v []any) {
	if r.l.Enabled(context.Background(), level) {
		r.l.Log(context.Background(), level, "raft: "+fmt.Sprint(v...))
	}
}

func (r raftLogger) printf(level slog.Level, format string, v []any) {
	if r.l.Enabled(context.Background(), level) {
		r.l.Log(context.Background(), level, "raft: "+fmt.Sprintf(format, v...))
	}
}

func (r raftLogger) Debug(v ...any)                   { r.print(slog.LevelDebug, v) }
func (r raftLogger) Debugf(format string, v ...any)   { r.printf(slog.LevelDebug, format, v) }
func (r raftLogger) Info(v ...any)                    { r.print(slog.LevelDebug, v) }
func (r raftLogger) Infof(format string, v ...any)    { r.printf(slog.LevelDebug, format, v) }
func (r raftLogger) Warning(v ...any)                 { r.print(slog.LevelWarn, v) }
func (r raftLogger) Warningf(format string, v ...any) { r.printf(slog.LevelWarn, format, v) }
func (r raftLogger) Error(v ...any)                   { r.print(slog.LevelError, v) }
func (r raftLogger) Errorf(format string, v ...any)   { r.printf(slog.LevelError, format, v) }
func (r raftLogger) Fatal(v ...any)                   { r.Panic(v...) }
func (r raftLogger) Fatalf(format string, v ...any)   { r.Panicf(format, v...) }

// Panic is how the library reports a broken invariant: state that must not be acted upon.
func (r raftLogger) Panic(v ...any) {
	r.print(slog.LevelError, v)
	panic(brokenInvariant("raft: " + fmt.Sprint(v...)))
}

func (r raftLogger) Panicf(format string, v ...any) {
	r.printf(slog.LevelError, format, v)
	panic(brokenInvariant("raft: " + fmt.Sprintf(format, v...)))
}

// brokenInvariant is what raft panics with. It stops the node, not the process.
type brokenInvariant string

func (b brokenInvariant) Error() string { return "raftlog: " + string(b) }

// newZap makes the logger that etcd's log asks for. Its Info tells of every segment, so it becomes Debug; what remains
// are slow syncs and failures.
func newZap(l *slog.Logger) *zap.Logger {
	return zap.New(zapToSlog{l: l}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

type zapToSlog struct {
	l      *slog.Logger
	fields []zapcore.Field
}

func (z zapToSlog) level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func (z zapToSlog) Enabled(l zapcore.Level) bool {
	return z.l.Enabled(context.Background(), z.level(l))
}

func (z zapToSlog) With(fields []zapcore.Field) zapcore.Core {
	return zapToSlog{l: z.l, fields: append(z.fields[:len(z.fields):len(z.fields)], fields...)}
}

func (z zapToSlog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if z.Enabled(e.Level) {
		return c.AddCore(e, z)
	}
	return c
}

func (z zapToSlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range z.fields {
		f.AddTo(m)
	}
	for _, f := range fields {
		f.AddTo(m)
	}
	attrs := make([]slog.Attr, 0, len(m.Fields))
	for _, k := range slices.Sorted(maps.Keys(m.Fields)) {
		attrs = append(attrs, slog.Any(k, m.Fields[k]))
	}
	z.l.LogAttrs(context.Background(), z.level(e.Level), "log: "+e.Message, attrs...)
	return nil
}

func (z zapToSlog) Sync() error { return nil }
