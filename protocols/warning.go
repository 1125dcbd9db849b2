package protocols

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// warning logs a thing that clients can cause as often as they like: once per interval at most, with the number of
// times that it was left unsaid.
type warning struct {
	logger   *slog.Logger
	interval time.Duration

	mu     sync.Mutex
	next   time.Time
	unsaid int
}

func (w *warning) log(message string, attrs ...slog.Attr) {
	now := time.Now()
	w.mu.Lock()
	if now.Before(w.next) {
		w.unsaid++
		w.mu.Unlock()
		return
	}
	unsaid := w.unsaid
	w.next, w.unsaid = now.Add(w.interval), 0
	w.mu.Unlock()
	if unsaid > 0 {
		attrs = append(attrs, slog.Int("more_since_last_time", unsaid))
	}
	w.logger.LogAttrs(context.Background(), slog.LevelWarn, message, attrs...)
}
