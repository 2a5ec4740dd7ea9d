package kafka

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"

	"github.com/orderflow/orderflow/test/child"
)

//go:embed pom.xml
var pom []byte

// libs returns the directory with Kafka's jars, about 50 MB.
func libs(t testing.TB) string {
	t.Helper()
	return Jars(t, pom)
}

// Jars returns the directory with the jars that a pom asks for. Maven brings them once for each
// version of it; they are kept in the user's cache directory.
func Jars(t testing.TB, pom []byte) string {
	t.Helper()
	cache := child.Cache(t, "kafka")
	dir := filepath.Join(cache, fmt.Sprintf("libs-%x", sha256.Sum256(pom))[:17])

	// Test packages run side by side; one of them downloads.
	lock := flock.New(filepath.Join(cache, "lock"))
	if err := lock.Lock(); err != nil {
		t.Fatalf("locking the cache of jars: %v", err)
	}
	defer func() { _ = lock.Unlock() }() // closing the file unlocks it as well
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := download(pom, cache, dir); err != nil {
		t.Fatalf("downloading jars: %v", err)
	}
	return dir
}

func download(pom []byte, cache, dir string) error {
	work, err := os.MkdirTemp(cache, "maven-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	mvn := exec.Command("mvn", "-q", "-B", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory=libs")
	mvn.Dir = work
	if out, err := mvn.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	// Only a whole set of jars gets the final name.
	return os.Rename(filepath.Join(work, "libs"), dir)
}
