//go:build !linux

package child

import "syscall"

// dieWithParent can ask nothing of other kernels: there a child outlives a test that is killed.
func dieWithParent() *syscall.SysProcAttr { return nil }
