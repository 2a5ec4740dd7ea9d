// Package child runs other programs for tests: the orderflow binary, a broker, a Python client.
// A process is signalled and ended by its own pid only, its output goes to a file, and it does
// not outlive the test, however the test ends.
package child

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a test waits for what happens unless something hangs. It is long, since a
// machine may be busy with much else: how fast something is, is for benchmarks to say.
const Patience = 5 * time.Minute

// Command says what to run.
type Command struct {
	Name string   // names the log file
	Path string   // the program
	Args []string // its arguments
	Dir  string   // where it runs; empty is the directory of the test
	Env  []string // added to the environment of the test
	Logs string   // directory of the log file; empty is t.TempDir()
	Tail int      // how much of the log a test that failed prints; 0 is 40 lines
}

// Process is a program that was started. Its methods may be called from several goroutines.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts a program and kills it when the test ends. Standard output and standard error go
// to one file, which the test prints the end of when it failed.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p, err := start(t, c)
	if err != nil {
		t.Fatalf("starting %s: %v", c.Name, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("end of %s:\n%s", p.log, p.Tail(cmp.Or(c.Tail, 40)))
		}
	})
	return p
}

func start(t testing.TB, c Command) (*Process, error) {
	if c.Logs == "" {
		c.Logs = t.TempDir()
	}
	out, err := os.CreateTemp(c.Logs, c.Name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own descriptor

	p := &Process{name: c.Name, log: out.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = dieWithParent()

	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked ends, so that
		// thread has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// Signal sends a signal; a process that has ended is left alone.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to %s: %w", s, p.name, err)
	}
	return nil
}

// Freeze stops the process without its noticing, as a long pause of a machine does.
func (p *Process) Freeze() error { return p.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL) // an error means that it has ended already
	<-p.done
}

// Terminate asks the process to end (SIGTERM) and waits for it, at most for the given time; then
// it is killed, which is an error.
func (p *Process) Terminate(patience time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Wait(patience)
}

// Wait waits until the process ends by itself, at most for the given time; then it is killed,
// which is an error. Otherwise the error is that of the exit status.
func (p *Process) Wait(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("waiting for %s: still running after %v", p.name, patience)
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns what the process has printed so far.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// LogPath names the file with the output, which is in Command.Logs.
func (p *Process) LogPath() string { return p.log }

// Tail returns the last lines of what the process has printed.
func (p *Process) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// AwaitLog waits until the process has printed a line with the given text. It fails the test
// when the process ends first, or the time is over.
func (p *Process) AwaitLog(t testing.TB, text string, patience time.Duration) string {
	t.Helper()
	line, err := p.awaitLog(text, patience)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func (p *Process) awaitLog(text string, patience time.Duration) (string, error) {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ended := false; ; {
		if line, ok := p.find(text); ok {
			return line, nil
		}
		if ended {
			return "", fmt.Errorf("waiting for %s to print %q: it ended: %v", p.name, text, p.err)
		}
		select {
		case <-tick.C:
		case <-p.done:
			ended = true // one more look at what it printed last
		case <-deadline:
			return "", fmt.Errorf("waiting for %s to print %q: not within %v", p.name, text, patience)
		}
	}
}

func (p *Process) find(text string) (string, bool) {
	f, err := os.Open(p.log)
	if err != nil {
		return "", false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return lines.Text(), true
		}
	}
	return "", false
}

// Root is the directory of the module, in which the configuration files are.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	t.Fatalf("finding the module's directory: no go.mod above the working directory (%v)", err)
	return ""
}

// Cache is a directory that is kept between runs of the tests, for what is expensive to make.
func Cache(t testing.TB, name string) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err == nil {
		base = filepath.Join(base, "orderflow-test", name)
		err = os.MkdirAll(base, 0o755)
	}
	if err != nil {
		t.Fatalf("making a cache directory: %v", err)
	}
	return base
}
