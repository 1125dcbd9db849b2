package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/pflag"
)

// What the members of a dev cluster are told: a file of settings for each, beside its directory.

// devPortStep is how far a member's ports are above those of the one before.
const devPortStep = 100

// prepare lays out names, ports and directories, and writes the files.
func (d *devCluster) prepare(cfg *config, flags *pflag.FlagSet) error {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "member.json")); err == nil {
		return fmt.Errorf("--data-dir %s holds a single member: give the dev cluster a directory of its own", cfg.DataDir)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o755); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	there, err := filepath.Glob(filepath.Join(cfg.DataDir, "node*.yaml"))
	if err == nil && len(there) > 0 && len(there) != cfg.DevCluster {
		return fmt.Errorf("--data-dir %s holds a dev cluster of %d: say --dev-cluster %d, or give another directory",
			cfg.DataDir, len(there), len(there))
	}
	var founders []string
	for i := range cfg.DevCluster {
		m := &devMember{name: "node" + strconv.Itoa(i+1)}
		m.file = filepath.Join(cfg.DataDir, m.name+".yaml")
		if m.at, err = devAddresses(cfg, i); err != nil {
			return err
		}
		founders = append(founders, m.name+"="+reachable(m.at.peer))
		d.members = append(d.members, m)
	}
	for _, m := range d.members {
		own := map[string]string{
			"name": m.name, "data-dir": filepath.Join(cfg.DataDir, m.name), "initial-cluster": strings.Join(founders, ","),
			"listen-resp": m.at.resp, "listen-etcd": m.at.etcd, "listen-zk": m.at.zk, "listen": m.at.shared,
			"listen-peer": m.at.peer, "listen-metrics": m.at.metrics,
		}
		if err := os.WriteFile(m.file, []byte(memberSettings(flags, own)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// devAddresses are the addresses of a member, counted from 0.
func devAddresses(cfg *config, i int) (at addresses, err error) {
	for _, l := range []struct {
		base string
		own  *string
	}{
		{cfg.ListenRESP, &at.resp}, {cfg.ListenEtcd, &at.etcd}, {cfg.ListenZK, &at.zk}, {cfg.Listen, &at.shared},
		{cfg.ListenPeer, &at.peer}, {cfg.ListenMetrics, &at.metrics},
	} {
		if l.base == "" {
			continue
		}
		security, base := cutSecurity(l.base)
		address, e := steppedAddress(base, i)
		err = errors.Join(err, e)
		*l.own = security + address
	}
	return at, err
}

// steppedAddress moves an address up by i steps. Port 0 becomes a free one, since the members have to know it of each other.
func steppedAddress(base string, i int) (string, error) {
	host, port, err := net.SplitHostPort(base)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return freeAddress(host)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	if n += i * devPortStep; n > 65535 {
		return "", fmt.Errorf("--dev-cluster: port %d of %s is not possible for member %d", n, base, i+1)
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// Ports of our choice are below those that systems give to outgoing connections: until a member takes its port, nothing else should.
const (
	freePortFirst = 20000
	freePorts     = 10000
	freePortTries = 100
)

// nextFreePort counts from a point of chance, so that none is chosen twice.
var nextFreePort = func() *atomic.Int64 {
	n := &atomic.Int64{}
	n.Store(rand.Int64N(freePorts))
	return n
}()

// freeAddress finds a port of a host that nothing listens on.
func freeAddress(host string) (at string, err error) {
	for range freePortTries {
		at = net.JoinHostPort(host, strconv.FormatInt(freePortFirst+nextFreePort.Add(1)%freePorts, 10))
		var l net.Listener
		if l, err = net.Listen("tcp", at); err == nil {
			return at, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return "", err
}

// memberSettings is the file of a member: its own settings, and those given to the whole that are not the defaults.
func memberSettings(flags *pflag.FlagSet, own map[string]string) string {
	var b strings.Builder
	b.WriteString("# Written by triglot serve --dev-cluster at each of its starts.\n")
	for _, s := range (&config{}).settings() {
		usual := s.value.String()
		value, ours := own[s.name]
		if !ours {
			value = flags.Lookup(s.name).Value.String()
		}
		if value == usual && !ours || s.name == "config" || s.name == "dev-cluster" {
			continue
		}
		quoted, _ := json.Marshal(value) // a string is always possible, and JSON's form of it is YAML's too
		fmt.Fprintf(&b, "%s: %s\n", s.name, quoted)
	}
	return b.String()
}
