package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// child is a pipeline that runs as a process of its own, from our own executable. Its results
// and its logs go to a file each.
type child struct {
	name    string
	results string // paths
	logs    string

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended; err is then set
	err  error
}

// startChild runs a pipeline in a directory in which config/ was laid out.
func startChild(executable, dir, name string, env []string) (*child, error) {
	c := &child{
		name:    name,
		results: filepath.Join(dir, name+".out"),
		logs:    filepath.Join(dir, name+".log"),
		done:    make(chan struct{}),
	}
	results, err := os.Create(c.results)
	if err != nil {
		return nil, err
	}
	defer results.Close() // the process has its own descriptors
	logs, err := os.Create(c.logs)
	if err != nil {
		return nil, err
	}
	defer logs.Close()

	c.cmd = exec.Command(executable, "run", filepath.Join("config", "pipelines", name+".yaml"))
	c.cmd.Dir = dir
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = results, logs
	c.cmd.SysProcAttr = attributes()

	started := make(chan error)
	go func() {
		// Where the kernel ends the child together with us, it does so when the thread that
		// started it ends. So that thread has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return c, nil
}

// ended reports whether the process has ended.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end and waits for it; when its time is over, it is killed.
func (c *child) stop(patience time.Duration) error {
	if !c.ended() {
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping %s: %w", c.name, err)
		}
	}
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill() // an error means that it has ended just now
		<-c.done
		return fmt.Errorf("stopping %s: still running after %v, killed", c.name, patience)
	}
	if c.err != nil {
		return fmt.Errorf("running %s: %w", c.name, c.err)
	}
	return nil
}

// summary returns what the process wrote to its standard output.
func (c *child) summary() string { return readText(c.results) }

// tail returns the last lines of the logs.
func (c *child) tail(lines int) string {
	all := strings.Split(readText(c.logs), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func readText(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(content))
}
