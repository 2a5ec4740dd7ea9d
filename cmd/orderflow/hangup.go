package main

import (
	"os"
	"os/signal"
	"syscall"
)

// endOnHangup makes SIGHUP end the process as SIGTERM does: a terminal that goes away, or an ssh
// connection that breaks, would end it on the spot, with orders in flight. Where SIGHUP is ignored,
// as under nohup, it stays so.
func endOnHangup() {
	if signal.Ignored(syscall.SIGHUP) {
		return
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Signal(syscall.SIGTERM)
			}
			if err != nil { // as it would have been
				os.Exit(128 + int(syscall.SIGHUP))
			}
		}
	}()
}
