//go:build unix

package broker

import "syscall"

// keepFilesPrivate lets nobody else read the files that this process makes from now on: those of
// the broker are made by a library, which asks for files that all may read.
func keepFilesPrivate() { syscall.Umask(0o077) }
