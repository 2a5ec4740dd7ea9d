package child

import "syscall"

// dieWithParent has the kernel kill the child when the test dies, be it by a timeout's panic or
// by kill -9.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
