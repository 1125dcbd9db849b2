// Package triglot_test holds the one check that belongs to no folder: that the folders know of each other only what the
// design lets them know.
package triglot_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/triglot/triglot"

// height places each folder in the picture. A package may import what is lower, and nothing beside or above it.
var height = map[string]int{
	"cmd":       4,
	"resp":      3,
	"grpcsvc":   3,
	"zkcompat":  3,
	"protocols": 2,
	"core":      1,
	"raftlog":   0,
	"storage":   0,
}

// hidden lists what a folder may not import although it is lower: the adapters know records, as core shows them, and
// not how they are replicated.
var hidden = map[string][]string{
	"resp":     {"raftlog"},
	"grpcsvc":  {"raftlog"},
	"zkcompat": {"raftlog"},
}

// confined lists the libraries that one role is made of, with the folders that play it. The longest match counts.
var confined = map[string][]string{
	"go.etcd.io/raft":                      {"raftlog"},
	"go.etcd.io/etcd/server":               {"raftlog"},
	"github.com/cockroachdb/pebble":        {"storage"},
	"github.com/cockroachdb/pebble/v2/vfs": {"storage", "core"}, // the filesystem that crash tests put under the store
	"github.com/hashicorp/go-memdb":        {"storage", "core"},
	"github.com/tidwall/redcon":            {"resp"},
	"google.golang.org/grpc":               {"grpcsvc", "raftlog", "cmd"}, // etcd's API, the way between members, the commands that ask a server
	"go.etcd.io/etcd/api":                  {"grpcsvc", "cmd"},
	"go.etcd.io/bbolt":                     {"grpcsvc"}, // etcd's files
	"github.com/golang-jwt/jwt":            {"grpcsvc"},
	"github.com/grpc-ecosystem":            {"grpcsvc"}, // the JSON gateway
	"github.com/gorilla/websocket":         {"grpcsvc"},
	"golang.org/x/crypto":                  {"core"}, // bcrypt
	"github.com/prometheus":                {"cmd"},
	"github.com/spf13":                     {"cmd"},
	"gopkg.in/yaml.v3":                     {"cmd"},

	// Clients of the three protocols are for tests against the running program, which are a module of their own.
	"go.etcd.io/etcd/client/v3":  {},
	"github.com/redis/go-redis":  {},
	"github.com/go-zookeeper/zk": {},
}

// lent lists what tests of a folder may use beyond that: core's crash tests put a log under the store, and the entries of
// raftlog.Log are raft's.
var lent = map[string][]string{
	"go.etcd.io/raft/v3/raftpb": {"core"},
}

// listed is the part of `go list -json` that matters here.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImportsRunDownwardsOnly(t *testing.T) {
	dependOnSources(t)
	list := exec.Command("go", "list", "-pgo=off", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen[folder(p.ImportPath)] = true
		for _, violation := range violations(p) {
			t.Error(violation)
		}
	}
	for name := range height {
		if !seen[name] {
			t.Errorf("folder %s has no package", name)
		}
	}
}

// dependOnSources looks at every source file of ours, so that a cached result of this test does not outlive a change: the
// go tool notes the files that a test looks at itself, and not those that it looks at through `go list`.
func dependOnSources(t *testing.T) {
	for name := range height {
		err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// violations says what is wrong with the imports of a package, its tests included.
func violations(p listed) (found []string) {
	from := folder(p.ImportPath)
	if from == "" {
		return nil // this file
	}
	level, ok := height[from]
	if !ok {
		return []string{fmt.Sprintf("%s: the design has no folder %q", p.ImportPath, from)}
	}
	imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
	slices.Sort(imports)
	for _, imported := range slices.Compact(imports) {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			to := folder(imported)
			lower, known := height[to]
			switch {
			case to == from:
			case !known || lower >= level:
				found = append(found, fmt.Sprintf("%s imports %s, which is not below it", p.ImportPath, imported))
			case slices.Contains(hidden[from], to):
				found = append(found, fmt.Sprintf("%s imports %s, which is core's business", p.ImportPath, imported))
			}
			continue
		}
		if slices.Contains(lent[imported], from) && !slices.Contains(p.Imports, imported) {
			continue
		}
		if library, folders := confinement(imported); library != "" && !slices.Contains(folders, from) {
			found = append(found, fmt.Sprintf("%s imports %s, which is for %v only", p.ImportPath, imported, folders))
		}
	}
	return found
}

// folder is the top-level folder of a package of ours; "" for the root.
func folder(importPath string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
	rest = strings.TrimSuffix(rest, "_test")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// confinement finds the entry of confined for an import path, by its longest leading part.
func confinement(importPath string) (library string, folders []string) {
	for part := importPath; part != "." && part != "/"; part = path.Dir(part) {
		if folders, ok := confined[part]; ok {
			return part, folders
		}
	}
	return "", nil
}

func TestWhatIsLentToTestsIsForTestsOnly(t *testing.T) {
	const borrowed = "go.etcd.io/raft/v3/raftpb"
	core := module + "/core"
	if found := violations(listed{ImportPath: core, TestImports: []string{borrowed}, XTestImports: []string{borrowed}}); len(found) > 0 {
		t.Errorf("in tests: %v", found)
	}
	if found := violations(listed{ImportPath: core, Imports: []string{borrowed}}); len(found) != 1 {
		t.Errorf("outside of tests: %v", found)
	}
	if found := violations(listed{ImportPath: module + "/resp", TestImports: []string{borrowed}}); len(found) != 1 {
		t.Errorf("in the tests of another folder: %v", found)
	}
}

func TestTheCheckFindsForbiddenImports(t *testing.T) {
	cases := []struct {
		name      string
		from      string
		imports   string
		forbidden bool
	}{
		{"the command wires adapters", "cmd/triglot", module + "/resp", false},
		{"an adapter uses core", "resp", module + "/core", false},
		{"an adapter uses core's commands", "grpcsvc", module + "/core/corepb", false},
		{"an adapter reads records", "zkcompat", module + "/storage", false},
		{"core uses the log", "core", module + "/raftlog", false},
		{"core uses its own package", "core", module + "/core/corepb", false},
		{"core puts a filesystem under the store", "core", "github.com/cockroachdb/pebble/v2/vfs", false},
		{"storage is on Pebble", "storage", "github.com/cockroachdb/pebble/v2/sstable", false},
		{"raftlog is on raft", "raftlog", "go.etcd.io/raft/v3/raftpb", false},
		{"members talk over gRPC", "raftlog/transport", "google.golang.org/grpc/keepalive", false},
		{"anyone uses the standard library", "storage", "net/http", false},

		{"an adapter uses another", "resp", module + "/zkcompat", true},
		{"an adapter uses the log", "grpcsvc", module + "/raftlog", true},
		{"an adapter uses the command", "resp", module + "/cmd/triglot", true},
		{"an adapter uses raft", "zkcompat", "go.etcd.io/raft/v3", true},
		{"an adapter uses Pebble", "resp", "github.com/cockroachdb/pebble/v2", true},
		{"an adapter uses another's library", "zkcompat", "google.golang.org/grpc/codes", true},
		{"the sockets know an adapter", "protocols", module + "/resp", true},
		{"core knows the sockets", "core", module + "/protocols", true},
		{"core knows an adapter", "core", module + "/grpcsvc", true},
		{"core knows the engine", "core", "github.com/cockroachdb/pebble/v2", true},
		{"core knows raft", "core", "go.etcd.io/raft/v3", true},
		{"core knows how members talk", "core", "google.golang.org/grpc", true},
		{"storage knows the log", "storage", module + "/raftlog", true},
		{"storage knows core", "storage", module + "/core", true},
		{"the log knows storage", "raftlog", module + "/storage", true},
		{"the log knows core's commands", "raftlog", module + "/core/corepb", true},
		{"the log uses Pebble", "raftlog", "github.com/cockroachdb/pebble/v2/vfs", true},
		{"a client library outside the end-to-end module", "grpcsvc", "go.etcd.io/etcd/client/v3", true},
		{"a folder that is not in the design", "utils", "fmt", true},
		{"a package of a folder that is not in the design", "core", module + "/utils", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range []listed{
				{ImportPath: module + "/" + c.from, Imports: []string{c.imports}},
				{ImportPath: module + "/" + c.from, TestImports: []string{c.imports}},
				{ImportPath: module + "/" + c.from, XTestImports: []string{c.imports}},
			} {
				if found := violations(p); (len(found) > 0) != c.forbidden {
					t.Errorf("found %v", found)
				}
			}
		})
	}
}
