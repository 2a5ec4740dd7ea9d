package clients

import (
	_ "embed"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
)

//go:embed java/pom.xml
var javaPom []byte

// Java is the classes of the folder java, compiled.
type Java struct {
	t         testing.TB
	classPath string
}

// CompileJava compiles them, which takes a second or two.
func CompileJava(t testing.TB) *Java {
	t.Helper()
	kafka.Require(t)
	jars, classes := filepath.Join(kafka.Jars(t, javaPom), "*"), t.TempDir()
	compile := exec.Command(kafka.Java("javac"), "-Xlint:all", "-Werror", "-cp", jars, "-d", classes,
		"test/clients/java/Client.java", "test/clients/java/Resolve.java")
	compile.Dir = child.Root(t)
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compiling the Java client: %v\n%s", err, out)
	}
	return &Java{t: t, classPath: jars + string(filepath.ListSeparator) + classes}
}

// Write writes orders and returns the records that were acknowledged. The arguments are those of
// the client's command `write`.
func (j *Java) Write(args ...string) []Record {
	j.t.Helper()
	return j.run("write", args)
}

// Read returns the committed records of a topic.
func (j *Java) Read(brokers, topic string) []Record {
	j.t.Helper()
	return j.run("read", []string{brokers, topic})
}

func (j *Java) run(command string, args []string) []Record {
	j.t.Helper()
	return output(j.t, j.command("Client", append([]string{command}, args...)...))
}

func (j *Java) command(class string, args ...string) *exec.Cmd {
	cmd := exec.Command(kafka.Java("java"), append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", j.classPath, class}, args...)...)
	cmd.Dir = child.Root(j.t)
	return cmd
}
