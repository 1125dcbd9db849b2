package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The examples of the manual are run as docs/README.md says.

// example is one command of a page and what it prints there.
type example struct {
	line          int
	command, want string
}

// readExamples gives the commands of a page's console blocks. Blocks that are indented as code are about blocks.
func readExamples(page string) (examples []example, err error) {
	const outside, elsewhere, console = 0, 1, 2
	state, number, continued := outside, 0, false
	for line := range strings.Lines(page) {
		number++
		line = strings.TrimRight(line, "\r\n")
		mark, fence := strings.CutPrefix(line, "```")
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case state == outside && fence && mark == "console":
			state, continued = console, false
			examples = append(examples, example{}) // lines before the first command would be of this one
		case state == outside && fence:
			state = elsewhere
		case state != outside && fence && mark == "":
			state = outside
		case state != console:
		case continued:
			last := &examples[len(examples)-1]
			last.command += "\n" + line
			continued = strings.HasSuffix(line, `\`)
		case isCommand:
			examples = append(examples, example{line: number, command: command})
			continued = strings.HasSuffix(line, `\`)
		default:
			last := &examples[len(examples)-1]
			if last.line == 0 {
				return nil, fmt.Errorf("line %d: a console block begins with a command", number)
			}
			last.want += line + "\n"
		}
	}
	if state != outside {
		return nil, fmt.Errorf("the last block has no end")
	}
	commands := examples[:0]
	for _, e := range examples {
		if e.line > 0 {
			commands = append(commands, e)
		}
	}
	return commands, nil
}

// pattern is what an example's output has to match.
func (e example) pattern() *regexp.Regexp {
	var p strings.Builder
	p.WriteString("^")
	for line := range strings.Lines(tidy(e.want)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			p.WriteString(`(?:.*\n)*`)
			continue
		}
		p.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	p.WriteString("$")
	return regexp.MustCompile(p.String())
}

// tidy takes away what does not count: spaces at the end of lines, empty lines before and after.
func tidy(text string) string {
	var lines strings.Builder
	for line := range strings.Lines(text) {
		lines.WriteString(strings.TrimRight(line, " \t\r\n") + "\n")
	}
	text = strings.Trim(lines.String(), "\n")
	if text != "" {
		text += "\n"
	}
	return text
}

// stage is where a page is played: what its text means here, and the directory and environment of its shell.
type stage struct {
	here func(text string) string
	dir  string
	env  []string
}

// stageWithServer has one fresh server.
func stageWithServer(t *testing.T) stage {
	s := startServer(t)
	return stage{here: s.here, dir: ".."}
}

// startsServers says whether a page runs servers of its own.
func startsServers(examples []example) bool {
	return slices.ContainsFunc(examples, func(e example) bool { return strings.Contains(e.command, "triglot serve") })
}

// defaultPorts are those of a server's settings, by the variables that change them.
var defaultPorts = map[string]int{
	"TRIGLOT_LISTEN_RESP": 6379, etcdVariable: 2379, "TRIGLOT_LISTEN_ZK": 2181, "TRIGLOT_LISTEN": 7379,
	"TRIGLOT_LISTEN_PEER": 2380, "TRIGLOT_LISTEN_METRICS": 7380,
}

const etcdVariable = "TRIGLOT_LISTEN_ETCD"

var writtenPort = regexp.MustCompile(`(127\.0\.0\.1:|-p )(\d{4,5})\b`)

// stageOfItsOwn has nothing but the program. All ports of the page are moved up by the same number, to where all of them
// are free; so are the defaults, for servers that are not told all of their ports.
func stageOfItsOwn(t *testing.T, examples []example) stage {
	t.Helper()
	wanted := map[int]bool{}
	for _, port := range defaultPorts {
		wanted[port] = true
	}
	for _, e := range examples {
		for _, m := range writtenPort.FindAllStringSubmatch(e.command, -1) {
			port, _ := strconv.Atoi(m[2])
			wanted[port] = true
		}
	}
	up := freeDistance(t, wanted)
	env := []string{
		"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"),
		fmt.Sprintf("TRIGLOT_ENDPOINTS=127.0.0.1:%d", defaultPorts[etcdVariable]+up),
	}
	for variable, port := range defaultPorts {
		env = append(env, fmt.Sprintf("%s=127.0.0.1:%d", variable, port+up))
	}
	return stage{dir: t.TempDir(), env: env, here: func(text string) string {
		return writtenPort.ReplaceAllStringFunc(text, func(written string) string {
			m := writtenPort.FindStringSubmatch(written)
			port, _ := strconv.Atoi(m[2])
			return m[1] + strconv.Itoa(port+up)
		})
	}}
}

// freeDistance finds how far up the ports have to go to be free, below those that the kernel takes for outgoing
// connections: a server that is down must find its ports free when it comes back.
func freeDistance(t *testing.T, ports map[int]bool) int {
	t.Helper()
	for range 200 {
		up := 10_000 + rand.IntN(12_000)
		var listeners []net.Listener
		for port := range ports {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+up))
			if err != nil {
				break
			}
			listeners = append(listeners, l)
		}
		for _, l := range listeners {
			l.Close()
		}
		if len(listeners) == len(ports) {
			return up
		}
	}
	t.Fatal("no free ports")
	panic("unreachable")
}

// here replaces the default addresses by those of a server.
func (s *server) here(text string) string {
	port := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return "-p " + port
	}
	return strings.NewReplacer(
		"127.0.0.1:6379", s.resp, "-p 6379", port(s.resp), "127.0.0.1:2379", s.etcd, "127.0.0.1:2181", s.zk,
		"127.0.0.1:7379", s.shared, "-p 7379", port(s.shared), "127.0.0.1:7380", s.metrics,
	).Replace(text)
}

// pagePatience bounds a page: some of its programs take a second to start on a good day, and clusters have elections.
const pagePatience = 5 * patience

// commandEnd is printed after each command, with its exit status.
const commandEnd = "== end of example =="

// runExamples runs the commands in one shell and gives what each printed, as far as the shell came.
func runExamples(t *testing.T, s stage, examples []example) (printed []string) {
	t.Helper()
	var script strings.Builder
	for _, e := range examples {
		fmt.Fprintf(&script, "%s\nprintf '\\n%s%%d\\n' $?\n", s.here(e.command), commandEnd)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "script")
	if err := os.WriteFile(path, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// A file, since what goes on in the background would keep the end of a pipe from being seen.
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	ctx, cancel := context.WithTimeout(context.Background(), pagePatience)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", path)
	shell.Dir, shell.Stdout, shell.Stderr = s.dir, output, output
	shell.Env = append(append(os.Environ(), "ETCDCTL_API=3", "LC_ALL=C.UTF-8"), s.env...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	err = shell.Wait()
	_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // what the page left running
	if ctx.Err() != nil {
		t.Errorf("the page did not end within %v", pagePatience)
	} else if err != nil {
		t.Errorf("bash: %v", err)
	}
	all, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	for {
		before, after, found := bytes.Cut(all, []byte("\n"+commandEnd))
		printed = append(printed, string(before))
		if !found {
			return printed
		}
		_, all, _ = bytes.Cut(after, []byte("\n"))
	}
}

// peersPrograms are those that not every machine has.
var peersPrograms = regexp.MustCompile(`\b(redis-cli|etcdctl|zkCli\.sh|curl|openssl)\b`)

func TestTheExamplesOfTheManualDoWhatTheySay(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/share/zookeeper/bin")
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, path := range append([]string{"../README.md"}, pages...) {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path = strings.TrimPrefix(path, "../")
		examples, err := readExamples(string(page))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		total += len(examples)
		if len(examples) == 0 {
			continue
		}
		t.Run(path, func(t *testing.T) {
			for _, e := range examples {
				for _, program := range peersPrograms.FindAllString(e.command, -1) {
					lookPath(t, program)
				}
			}
			var s stage
			if startsServers(examples) {
				s = stageOfItsOwn(t, examples)
			} else {
				s = stageWithServer(t)
			}
			printed := runExamples(t, s, examples)
			for i, e := range examples {
				e.want = s.here(e.want)
				if i >= len(printed)-1 {
					t.Errorf("%s:%d: %s\ndid not end, after it had printed\n%s", path, e.line, e.command, printed[i])
					break
				}
				if got := tidy(printed[i]); !e.pattern().MatchString(got) {
					t.Errorf("%s:%d: %s\nprinted\n%s\nwant\n%s", path, e.line, e.command, got, tidy(e.want))
				}
			}
		})
	}
	if total == 0 {
		t.Error("there are no examples")
	}
}

func TestAnExampleIsReadAsTheManualSays(t *testing.T) {
	page := strings.ReplaceAll(`
'''console
$ one \
  two

'''
'''sh
$ not this
'''
    '''console
    $ nor this
    '''
'''console
$ three
a … c

…
$ four
'''
`, "'''", "```")
	examples, err := readExamples(page)
	if err != nil || len(examples) != 3 || examples[0].command != "one \\\n  two" || examples[1].line != 14 || examples[2].command != "four" {
		t.Fatalf("%+v, %v", examples, err)
	}
	for printed, right := range map[string]bool{
		"a b c\n": false, "a b c\n\n": false, "a b c\n\nd\ne\n": true, "\n\na b c  \n\n": false, "a b d\n\n": false,
	} {
		if examples[1].pattern().MatchString(tidy(printed)) != right {
			t.Errorf("%q matches: %v", printed, !right)
		}
	}
	if !examples[2].pattern().MatchString(tidy("\n\n")) || examples[2].pattern().MatchString("x\n") {
		t.Error("an example that prints nothing")
	}
}
