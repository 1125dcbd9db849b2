package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// Spec says which servers to compare on which workloads.
type Spec struct {
	// Vars are defaults for the environment variables that servers use.
	Vars   map[string]string `json:"vars"`
	Rounds int               `json:"rounds"`
	// Servers to compare; the first is what the others are compared to.
	Servers []Server `json:"servers"`
	// Workloads are what each Config sets differently from Defaults.
	Workloads []Config `json:"-"`
}

func loadSpec(file string) (*Spec, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	spec, err := parseSpec(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return spec, nil
}

func parseSpec(text []byte) (*Spec, error) {
	raw := struct {
		Spec
		Defaults  json.RawMessage   `json:"defaults"`
		Workloads []json.RawMessage `json:"workloads"`
	}{Spec: Spec{Rounds: 3}, Defaults: json.RawMessage("{}")}
	if err := unmarshal(text, &raw); err != nil {
		return nil, err
	}
	spec, defaults := raw.Spec, defaultConfig
	for _, s := range spec.Servers {
		if s.Name == "" || s.Target == "" || len(s.Command) == 0 {
			return nil, fmt.Errorf("server %q needs a name, a target and a command", s.Name)
		}
	}
	if err := unmarshal(raw.Defaults, &defaults); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	for _, text := range raw.Workloads {
		cfg := defaults
		if err := unmarshal(text, &cfg); err != nil {
			return nil, fmt.Errorf("workload: %w", err)
		}
		if err := cfg.validate(); err != nil {
			return nil, fmt.Errorf("workload %s: %w", cfg.Name, err)
		}
		spec.Workloads = append(spec.Workloads, cfg)
	}
	return &spec, nil
}

// unmarshal refuses fields that v lacks, which are typing errors.
func unmarshal(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// measuredTime is how long all measurements take, without what precedes each of them.
func (s *Spec) measuredTime() (total time.Duration) {
	for _, cfg := range s.Workloads {
		total += cfg.Warmup.Duration + cfg.Duration.Duration
	}
	return total * time.Duration(s.Rounds*len(s.Servers))
}

// choose keeps the named servers and workloads, in the order given; without
// names it keeps them all.
func (s *Spec) choose(servers, workloads []string) (err error) {
	if s.Servers, err = pick(s.Servers, servers, func(s Server) string { return s.Name }); err != nil {
		return fmt.Errorf("servers: %w", err)
	}
	if s.Workloads, err = pick(s.Workloads, workloads, func(c Config) string { return c.Name }); err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	return nil
}

// vary replaces every workload by one for each number of clients and for each size of the keyspace; without numbers it
// leaves that as it is.
func (s *Spec) vary(clients, keys []string) error {
	for _, by := range []struct {
		name   string
		values []string
		field  func(*Config) *int
	}{
		{"clients", clients, func(c *Config) *int { return &c.Clients }},
		{"keys", keys, func(c *Config) *int { return &c.Keys }},
	} {
		if len(by.values) == 0 {
			continue
		}
		var varied []Config
		for _, cfg := range s.Workloads {
			for _, value := range by.values {
				next := cfg
				n, err := strconv.Atoi(value)
				if err != nil {
					return fmt.Errorf("%s: %w", by.name, err)
				}
				*by.field(&next) = n
				next.Conns = min(next.Conns, next.Clients)
				next.Name += "-" + by.name + "-" + value
				if err := next.validate(); err != nil {
					return err
				}
				varied = append(varied, next)
			}
		}
		s.Workloads = varied
	}
	return nil
}

func pick[T any](from []T, names []string, nameOf func(T) string) ([]T, error) {
	if len(names) == 0 {
		return from, nil
	}
	var picked []T
	for _, name := range names {
		i := slices.IndexFunc(from, func(t T) bool { return nameOf(t) == name })
		if i < 0 {
			return nil, fmt.Errorf("no %q in the spec", name)
		}
		picked = append(picked, from[i])
	}
	return picked, nil
}

// expand replaces $NAME and ${NAME} in the servers by the environment's value
// or, failing that, the one in Vars.
func (s *Spec) expand() error {
	var missing []string
	value := func(name string) string {
		if v, ok := os.LookupEnv(name); ok {
			return v
		}
		v, ok := s.Vars[name]
		if !ok {
			missing = append(missing, name)
		}
		return v
	}
	for i := range s.Servers {
		server := &s.Servers[i]
		server.Target = os.Expand(server.Target, value)
		for j, arg := range server.Command {
			server.Command[j] = os.Expand(arg, value)
		}
		for _, lines := range server.Files {
			for j, line := range lines {
				lines[j] = os.Expand(line, value)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("set in the environment: %v", missing)
	}
	return nil
}
