//go:build !linux

package demo

import "syscall"

// attributes ask nothing of other kernels: there, Ctrl-C reaches the children too, which stops
// them as we would.
func attributes() *syscall.SysProcAttr { return nil }
