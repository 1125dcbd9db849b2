package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress shows how far something is: one line that changes on a terminal, and lines now and then otherwise, as a log
// wants them.
type progress struct {
	out      io.Writer
	what     string // "saving backup.db"
	terminal bool
	now      func() time.Time

	begun, shown time.Time
	drawn        bool // the terminal's line is not ended
}

const (
	redrawPause = 100 * time.Millisecond
	linePause   = 5 * time.Second
)

func newProgress(out io.Writer, what string) *progress {
	p := &progress{out: out, what: what, terminal: isTerminal(out), now: time.Now}
	p.begun = p.now()
	p.shown = p.begun
	return p
}

// isTerminal says whether somebody looks at it.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// step says that so many bytes of total are done. total 0 is unknown.
func (p *progress) step(done, total int64) {
	now := p.now()
	pause := linePause
	if p.terminal {
		pause = redrawPause
	}
	if now.Sub(p.shown) < pause {
		return
	}
	p.shown = now
	text := fmt.Sprintf("%s: %s", p.what, humanBytes(done))
	if total > 0 {
		text += fmt.Sprintf(" of %s (%d%%)", humanBytes(total), done*100/total)
	}
	if seconds := now.Sub(p.begun).Seconds(); seconds > 0 {
		text += fmt.Sprintf(", %s/s", humanBytes(int64(float64(done)/seconds)))
	}
	if p.terminal {
		p.drawn = true
		fmt.Fprintf(p.out, "\r%s\x1b[K", text) // the code clears the rest of a longer line before
		return
	}
	fmt.Fprintln(p.out, text)
}

// end takes the changing line away: what came of it is said by others.
func (p *progress) end() {
	if p.drawn {
		p.drawn = false
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
