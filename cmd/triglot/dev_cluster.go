package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/pflag"
)

// `triglot serve --dev-cluster N` runs a cluster on one machine, for trying things out. Its members are processes of their
// own, so that one of them can be killed, and brought back with the command that it was started with. This process starts
// them, shows their lines, and ends them when it is ended. Goroutines: for each member one that reads its lines and waits
// for its end, and one that waits for it to be ready.

// devCluster is the members and what they tell.
type devCluster struct {
	dir     string
	members []*devMember
	events  chan devEvent // room for all that can come: each member is ready once and ends once

	mu  sync.Mutex // guards out: a line is written whole
	out io.Writer
}

// devMember is one process.
type devMember struct {
	name  string
	file  string // its settings
	at    addresses
	cmd   *exec.Cmd
	live  bool
	ready bool
}

type devEvent struct {
	member *devMember
	ready  bool
	end    error // of the process; nil if it ended well
}

// serveDevCluster runs until a signal or until no member is left.
func serveDevCluster(cfg *config, flags *pflag.FlagSet, out io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	d := &devCluster{dir: cfg.DataDir, out: out, events: make(chan devEvent, 2*cfg.DevCluster)}
	if err := d.prepare(cfg, flags); err != nil {
		return err
	}
	sockets, err := os.MkdirTemp("", "triglot-dev")
	if err != nil {
		return err
	}
	defer os.RemoveAll(sockets)
	for _, m := range d.members {
		if err := d.launch(m, sockets); err != nil {
			d.end(signals)
			return err
		}
	}
	return d.watch(signals)
}

// watch is the life of the cluster once its processes run.
func (d *devCluster) watch(signals <-chan os.Signal) error {
	started := false
	for {
		select {
		case <-signals:
			return d.end(signals)
		case e := <-d.events:
			switch {
			case e.ready:
				e.member.ready = true
			case !started:
				e.member.live = false
				d.end(signals)
				return fmt.Errorf("%s did not start: its lines above say why", e.member.name)
			default:
				e.member.live = false
				d.say("%s ended (%s). The others go on without it if they are the majority. Bring it back, in another terminal, with:\n  %s\n",
					e.member.name, endText(e.end), restart(e.member))
			}
		}
		if !started && !slices.ContainsFunc(d.members, func(m *devMember) bool { return !m.ready }) {
			started = true
			d.say("%s", d.summary())
		}
		if !slices.ContainsFunc(d.members, func(m *devMember) bool { return m.live }) {
			return errors.New("no member of the dev cluster is left")
		}
	}
}

// end asks every member to end, and waits for it. A second signal ends them at once.
func (d *devCluster) end(signals <-chan os.Signal) error {
	left := 0
	for _, m := range d.members {
		if m.live {
			left++
			_ = m.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	var failed error
	for left > 0 {
		select {
		case <-signals:
			for _, m := range d.members {
				if m.live {
					_ = m.cmd.Process.Kill()
				}
			}
			failed = errors.New("ended at once, as asked for")
		case e := <-d.events:
			if e.ready {
				continue
			}
			e.member.live = false
			left--
			if e.end != nil && failed == nil {
				failed = fmt.Errorf("%s ended with %s", e.member.name, endText(e.end))
			}
		}
	}
	return failed
}

// launch starts a member's process.
func (d *devCluster) launch(m *devMember, sockets string) error {
	socket := filepath.Join(sockets, m.name)
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	m.cmd = exec.Command(program, "serve", "--config", m.file)
	m.cmd.Env = append(withoutSettings(os.Environ()), notifyVariable+"="+socket)
	m.cmd.SysProcAttr = childAttributes()
	lines, err := m.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.live = true
	go func() {
		state := make([]byte, 64)
		for {
			n, err := listener.Read(state)
			if err != nil {
				return
			}
			if string(state[:n]) == notifyReady {
				d.events <- devEvent{member: m, ready: true}
				return
			}
		}
	}()
	go func() {
		for reader := bufio.NewReader(lines); ; {
			line, err := reader.ReadString('\n')
			if line != "" {
				d.say("%s | %s\n", m.name, strings.TrimRight(line, "\n"))
			}
			if err != nil {
				break
			}
		}
		err := m.cmd.Wait()
		listener.Close()
		d.events <- devEvent{member: m, end: err}
	}()
	return nil
}

func (d *devCluster) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format, args...)
}

// withoutSettings leaves the settings out of an environment: those of the members are all in their files.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		return strings.HasPrefix(pair, variablePrefix) || strings.HasPrefix(pair, notifyVariable+"=")
	})
}

func endText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// restart is the command that a member is started with.
func restart(m *devMember) string { return os.Args[0] + " serve --config " + m.file }

// summary is what a person needs: where everyone is, and what to try.
func (d *devCluster) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\ntriglot %s: %d members are ready, data in %s\n\n", version, len(d.members), d.dir)
	t := newTable(&b, "  MEMBER", "PID", "REDIS", "ETCD", "ZOOKEEPER", "ALL THREE", "PEERS", "METRICS")
	for _, m := range d.members {
		row := []string{"  " + m.name, fmt.Sprint(m.cmd.Process.Pid)}
		for _, address := range []string{m.at.resp, m.at.etcd, m.at.zk, m.at.shared, m.at.peer, m.at.metrics} {
			if address == "" {
				address = "off"
			}
			row = append(row, address)
		}
		t.row(row...)
	}
	_ = t.end() // into memory
	b.WriteString("\nTry this in another terminal:\n\n")
	try := newTable(&b)
	at := func(i int) *devMember { return d.members[i%len(d.members)] }
	second := at(1)
	if second.at.etcd != "" {
		try.row("  "+os.Args[0]+" status --endpoints "+reachable(second.at.etcd), "how everyone is, and who leads")
	}
	if at(0).at.resp != "" {
		try.row("  redis-cli "+redisAddress(at(0).at.resp)+" set /greeting hello", "write through one member,")
	}
	if second.at.etcd != "" {
		try.row("  etcdctl --endpoints="+reachable(second.at.etcd)+" get /greeting", "read through another")
	}
	if at(2).at.zk != "" {
		try.row("  zkCli.sh -server "+reachable(at(2).at.zk)+" get /greeting", "and through one more")
	}
	try.row(fmt.Sprintf("  kill -9 %d", at(0).cmd.Process.Pid), at(0).name+" is gone; the others go on")
	try.row("  "+restart(at(0)), "and it is back")
	_ = try.end()
	fmt.Fprintf(&b, "\nCtrl-C ends all of them.\n\n")
	return b.String()
}
