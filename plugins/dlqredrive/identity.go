package dlqredrive

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"os"
	"os/user"
	"time"
)

// newRunID names a run by its beginning, so that ids sort by time.
func newRunID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

// whoami is the user and the machine, for the audit record.
func whoami() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return cmp.Or(name, os.Getenv("USER"), "unknown") + "@" + cmp.Or(host, "unknown")
}
