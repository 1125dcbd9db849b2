package main

import (
	"log/slog"
	"net"
	"os"
)

// notifyVariable names the socket of a supervisor that wants to be told when the server is ready. It is systemd's protocol
// (sd_notify, for units of Type=notify), and --dev-cluster's.
const notifyVariable = "NOTIFY_SOCKET"

// What a supervisor is told.
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
)

// supervised says whether somebody else than a person at a terminal waits for this process.
func supervised() bool { return os.Getenv(notifyVariable) != "" }

// notifySupervisor tells the supervisor, if there is one. That it cannot be told ends nothing.
func notifySupervisor(state string, logger *slog.Logger) {
	socket := os.Getenv(notifyVariable)
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err == nil {
		defer conn.Close()
		_, err = conn.Write([]byte(state))
	}
	if err != nil {
		logger.Warn("the supervisor could not be told", "state", state, notifyVariable, socket, "err", err)
	}
}
