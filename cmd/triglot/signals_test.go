package main

import (
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// signalsAloneVariable makes the test program wait for signals the way serve does, with a clean end that never comes.
const signalsAloneVariable = "TRIGLOT_TEST_SIGNALS_ALONE"

func waitForSignals() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	stop := stopSignal(logger)
	logger.Info("waiting")
	<-stop
	logger.Info("a clean end has begun")
	select {}
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), signalsAloneVariable+"=1")
	p := launch(t, cmd, "msg=waiting")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.end(t, syscall.SIGINT); code != 1 {
		t.Errorf("exit code %d, want 1\n%s", code, p.stderr())
	}
}
