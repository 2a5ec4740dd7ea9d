package child

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func shell(t *testing.T, script string, env ...string) *Process {
	t.Helper()
	return Start(t, Command{Name: "shell", Path: "sh", Args: []string{"-c", script}, Env: env})
}

func TestAProcessPrintsToItsLogAndEnds(t *testing.T) {
	p := shell(t, `echo "to stdout: $WORD"; echo to stderr >&2; exit 3`, "WORD=hello")

	require.Equal(t, "to stdout: hello", p.AwaitLog(t, "stdout", Patience))
	var status *exec.ExitError
	require.ErrorAs(t, p.Wait(Patience), &status)
	require.Equal(t, 3, status.ExitCode())
	require.Equal(t, "to stdout: hello\nto stderr\n", p.Log())
	require.Equal(t, "to stderr", p.Tail(1))
	require.NoError(t, p.Signal(syscall.SIGTERM), "a signal to a process that has ended")
}

func TestWaitingForALineEndsWithTheProcess(t *testing.T) {
	p := shell(t, `echo one; exit 1`)
	_, err := p.awaitLog("two", Patience)
	require.ErrorContains(t, err, `waiting for shell to print "two": it ended: exit status 1`)
}

func TestWaitingForALineEndsWithTheTime(t *testing.T) {
	p := shell(t, `echo one; exec sleep 60`)
	p.AwaitLog(t, "one", Patience)
	_, err := p.awaitLog("two", 50*time.Millisecond)
	require.ErrorContains(t, err, `waiting for shell to print "two": not within 50ms`)
}

func TestTerminateWaitsForTheProcess(t *testing.T) {
	p := shell(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done`)
	p.AwaitLog(t, "ready", Patience)
	require.NoError(t, p.Terminate(Patience))
	require.Equal(t, "bye", p.Tail(1))
}

func TestTerminateKillsWhatDoesNotListen(t *testing.T) {
	p := shell(t, `trap '' TERM; echo ready; while :; do sleep 0.02; done`)
	p.AwaitLog(t, "ready", Patience)
	require.ErrorContains(t, p.Terminate(100*time.Millisecond), "waiting for shell: still running after 100ms")
	<-p.Done()
}

func TestAFrozenProcessDoesNothingUntilItIsThawed(t *testing.T) {
	p := shell(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done`)
	p.AwaitLog(t, "ready", Patience)
	require.NoError(t, p.Freeze())
	require.NoError(t, p.Signal(syscall.SIGTERM))
	_, err := p.awaitLog("bye", 200*time.Millisecond)
	require.Error(t, err)
	require.NoError(t, p.Thaw())
	require.NoError(t, p.Wait(Patience))
}
