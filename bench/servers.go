package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

const (
	readyTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// Server is a server, or a cluster of them, that a spec can start. Its strings
// are templates: see README.md.
type Server struct {
	Name    string              `json:"name"`
	Nodes   int                 `json:"nodes"`
	Target  string              `json:"target"`
	Command []string            `json:"command"`
	Files   map[string][]string `json:"files"` // lines, by path within the node's directory
}

// cluster is a running Server.
type cluster struct {
	target string
	nodes  []*node
}

// node is one process of a cluster. Its exported fields and Port are what the
// templates of a Server use.
type node struct {
	ID    int // from 1
	Dir   string
	Nodes []*node // all of the cluster

	ports map[string]net.Listener // reserved by the listener until the node starts
	cmd   *exec.Cmd
	log   *os.File
	done  chan struct{} // closed when the process has exited
}

// freshDir makes a directory of its own inside another, for one server. Its path is absolute.
func freshDir(within string) (string, error) {
	within, err := filepath.Abs(within)
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(within, "bench-")
}

// start runs the server's nodes in new directories under dir and waits until
// each answers requests.
func (s Server) start(ctx context.Context, dir string) (_ *cluster, err error) {
	c := &cluster{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start %s: %w%s", s.Name, err, c.logTail())
			c.stop()
		}
	}()
	for id := range max(1, s.Nodes) {
		c.nodes = append(c.nodes, &node{ID: id + 1, Dir: filepath.Join(dir, fmt.Sprintf("node%d", id+1))})
	}
	if err := c.prepare(s); err != nil {
		return c, err
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return c, err
		}
	}
	return c, c.waitReady(ctx)
}

// startFresh is start in a directory of its own inside another. end stops the nodes and removes it.
func (s Server) startFresh(ctx context.Context, within string) (c *cluster, end func(), err error) {
	dir, err := freshDir(within)
	if err != nil {
		return nil, nil, err
	}
	if c, err = s.start(ctx, dir); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, func() {
		c.stop()
		os.RemoveAll(dir)
	}, nil
}

// prepare renders every node's files and command before the ports they name are
// let go for the nodes to take.
func (c *cluster) prepare(s Server) (err error) {
	for _, n := range c.nodes {
		n.Nodes = c.nodes
		if err := os.MkdirAll(n.Dir, 0o755); err != nil {
			return err
		}
		for name, lines := range s.Files {
			text, err := n.render(strings.Join(lines, "\n") + "\n")
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		var args []string
		for _, arg := range s.Command {
			text, err := n.render(arg)
			if err != nil {
				return err
			}
			args = append(args, text)
		}
		n.cmd = exec.Command(args[0], args[1:]...)
		n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that stop ends its children too
		if n.log, err = os.Create(n.Dir + ".log"); err != nil {
			return err
		}
		n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	}
	if c.target, err = c.nodes[0].render(s.Target); err != nil {
		return err
	}
	for _, n := range c.nodes {
		for _, listener := range n.ports {
			listener.Close()
		}
	}
	return nil
}

func (n *node) render(text string) (string, error) {
	t, err := template.New("spec").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, n)
	return b.String(), err
}

// Port returns the node's port for a use that the spec names, such as "client".
func (n *node) Port(use string) (int, error) {
	listener := n.ports[use]
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return 0, err
		}
		if n.ports == nil {
			n.ports = map[string]net.Listener{}
		}
		n.ports[use] = listener
	}
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// Hosts returns host:port of every node for a named use, with commas between.
func (n *node) Hosts(use string) (string, error) {
	var hosts []string
	for _, peer := range n.Nodes {
		port, err := peer.Port(use)
		if err != nil {
			return "", err
		}
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return strings.Join(hosts, ","), nil
}

func (n *node) start() error {
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.done = make(chan struct{})
	go func() {
		n.cmd.Wait()
		close(n.done)
	}()
	return nil
}

func (n *node) running() bool { return n.done != nil }

// waitReady pings each server in turn, in its own protocol, until it answers.
func (c *cluster) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	scheme, hosts, err := parseTarget(c.target)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		// A client that is refused waits for a second before it tries again.
		for !accepts(host) || ping(ctx, scheme+"://"+host) != nil {
			for _, n := range c.nodes {
				select {
				case <-n.done:
					return fmt.Errorf("node %d exited: %s", n.ID, n.cmd.ProcessState)
				default:
				}
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s does not answer: %w", host, ctx.Err())
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

func accepts(host string) bool {
	conn, err := net.DialTimeout("tcp", host, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func ping(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	d, err := dial(Config{Target: target, Conns: 1})
	if err != nil {
		return err
	}
	defer d.close()
	stop := context.AfterFunc(ctx, d.close)
	defer stop()
	return d.ping(ctx)
}

// stop ends every node and waits until it has exited.
func (c *cluster) stop() {
	for _, n := range c.nodes {
		if n.running() {
			syscall.Kill(-n.cmd.Process.Pid, syscall.SIGTERM)
		}
	}
	deadline := time.After(stopTimeout)
	for _, n := range c.nodes {
		if n.running() {
			select {
			case <-n.done:
			case <-deadline:
				syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL)
				<-n.done
			}
		}
		if n.log != nil {
			n.log.Close()
		}
	}
}

// logTail returns the end of each node's output, for error messages.
func (c *cluster) logTail() string {
	const most = 1000
	var tail strings.Builder
	for _, n := range c.nodes {
		if text, err := os.ReadFile(n.Dir + ".log"); err == nil && len(text) > 0 {
			fmt.Fprintf(&tail, "\nnode %d: %s", n.ID, text[max(0, len(text)-most):])
		}
	}
	return tail.String()
}

// meter reads the nodes' usage.
func (c *cluster) meter() ([]Usage, error) {
	var pids []int
	for _, n := range c.nodes {
		pids = append(pids, n.cmd.Process.Pid)
	}
	return processes(pids)()
}

// dataBytes is the disk space that the nodes' directories take up.
func (c *cluster) dataBytes() (total int64, err error) {
	for _, n := range c.nodes {
		err = errors.Join(err, filepath.WalkDir(n.Dir, func(_ string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile by a live server
			}
			if err == nil {
				total += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return err
		}))
	}
	return total, err
}
