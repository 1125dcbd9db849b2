package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Where the values of etcd's flags come from beside the command line: the environment, and etcd's configuration file.

// etcdValue takes a flag of etcd as text. What it means is looked at later, together with variables and the file.
type etcdValue struct {
	at     map[string]string
	name   string
	toggle bool
}

func (v etcdValue) String() string   { return "" }
func (v etcdValue) IsBoolFlag() bool { return v.toggle }
func (v etcdValue) Set(text string) error {
	if v.toggle {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("it is true or false")
		}
		text = strconv.FormatBool(on)
	}
	v.at[v.name] = text
	return nil
}

const etcdVariablePrefix = "ETCD_"

func etcdVariable(name string) string {
	return etcdVariablePrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// gatherEtcd brings flags and ETCD_ variables together: a flag wins over a variable, and a file over both.
func gatherEtcd(given map[string]string, environ []string) (map[string]string, []etcdNote, error) {
	names := map[string]etcdFlag{}
	for _, f := range etcdFlags() {
		names[etcdVariable(f.name)] = f
	}
	all, notes := map[string]string{}, []etcdNote{}
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		variable, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(variable, etcdVariablePrefix) {
			continue
		}
		f, known := names[variable]
		switch {
		case !known || f.name == "version":
			notes = append(notes, etcdNote{true, "an environment variable names no flag of etcd and is ignored", variable})
		case text != "":
			if err := (etcdValue{all, f.name, f.toggle}).Set(text); err != nil {
				return nil, nil, fmt.Errorf("environment variable %s: %q is not possible: %w", variable, text, err)
			}
		}
	}
	maps.Copy(all, given)
	file := all["config-file"]
	if file == "" {
		return all, notes, nil
	}
	all, more, err := readEtcdFile(file)
	return all, append(notes, more...), err
}

// etcdSections are the nested parts of etcd's file, by their paths, and the flags that their keys are.
var etcdSections = map[string]map[string]string{
	"client-transport-security": {
		"cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file", "client-key-file": "client-key-file",
		"client-cert-auth": "client-cert-auth", "trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
		"allowed-hostname": "client-cert-allowed-hostname",
	},
	"peer-transport-security": {
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
		"client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth", "trusted-ca-file": "peer-trusted-ca-file",
		"auto-tls": "peer-auto-tls", "allowed-cn": "peer-cert-allowed-cn", "allowed-hostname": "peer-cert-allowed-hostname",
		"skip-client-san-verification": "peer-skip-client-san-verification",
	},
	"discovery-config": {"token": "discovery-token"},
	"discovery-config.client": {
		"endpoints": "discovery-endpoints", "dial-timeout": "discovery-dial-timeout", "request-timeout": "discovery-request-timeout",
		"keepalive-time": "discovery-keepalive-time", "keepalive-timeout": "discovery-keepalive-timeout",
	},
	"discovery-config.client.secure": {
		"cert": "discovery-cert", "key": "discovery-key", "cacert": "discovery-cacert",
		"insecure-transport": "discovery-insecure-transport", "insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
	},
	"discovery-config.client.auth": {"username": "discovery-user", "password": "discovery-password"},
}

// etcdNanoseconds are the flags whose value in the file is a number of nanoseconds, and which take no number otherwise.
var etcdNanoseconds = []string{
	"discovery-dial-timeout", "discovery-request-timeout", "discovery-keepalive-time", "discovery-keepalive-timeout",
}

// readEtcdFile reads etcd's YAML file: flags by their names, and two nested sections. Keys that etcd has not are told.
func readEtcdFile(file string) (map[string]string, []etcdNote, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("--config-file: %w", err)
	}
	var document map[string]yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, nil, fmt.Errorf("--config-file: %s: %w", file, err)
	}
	names := map[string]etcdFlag{}
	for _, f := range etcdFlags() {
		names[f.name] = f
	}
	all, notes := map[string]string{}, []etcdNote{}
	set := func(name, key string, node *yaml.Node) error {
		f, known := names[name]
		if !known || name == "config-file" || name == "version" {
			notes = append(notes, etcdNote{true, "the configuration file has a key that etcd has not, which is ignored", key})
			return nil
		}
		text, err := etcdScalar(node)
		if err == nil && slices.Contains(etcdNanoseconds, name) {
			text, err = nanoseconds(text)
		}
		if err == nil && text != "" {
			err = etcdValue{all, name, f.toggle}.Set(text)
		}
		if err != nil {
			return fmt.Errorf("--config-file: %s:%d: %s: %w", file, node.Line, key, err)
		}
		return nil
	}
	var walk func(section string, keys map[string]yaml.Node) error
	walk = func(section string, keys map[string]yaml.Node) error {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			node, name, path := keys[key], key, key
			if section != "" {
				name, path = etcdSections[section][key], section+"."+key
			}
			if _, nested := etcdSections[path]; !nested {
				if err := set(name, path, &node); err != nil {
					return err
				}
				continue
			}
			var inner map[string]yaml.Node
			if err := node.Decode(&inner); err != nil {
				return fmt.Errorf("--config-file: %s:%d: %s: %w", file, node.Line, path, err)
			}
			if err := walk(path, inner); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk("", document); err != nil {
		return nil, nil, err
	}
	return all, notes, nil
}

// etcdScalar is a value of the file as the flag takes it: a list has commas.
func etcdScalar(node *yaml.Node) (string, error) {
	if node.Kind == yaml.SequenceNode {
		var list []string
		err := node.Decode(&list)
		return strings.Join(list, ","), err
	}
	if node.Kind != yaml.ScalarNode {
		return "", errors.New("it is a single value or a list")
	}
	if node.Tag == "!!null" {
		return "", nil
	}
	return node.Value, nil
}
