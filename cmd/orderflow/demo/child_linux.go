package demo

import "syscall"

// attributes put the child into a group of its own, so that Ctrl-C reaches only us and we can
// stop the children in order, and have the kernel kill it when we are killed: its broker is gone
// then, so there is nothing that it could still do.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
