//go:build synctests

package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"gopkg.in/yaml.v3"

	_ "github.com/orderflow/orderflow/plugins/all"
	"github.com/orderflow/orderflow/plugins/kafkatransactional"
)

// instance is one process that runs the pipeline.
type instance struct {
	slot   int // what its instance id is made of
	id     string
	net    *network
	stream *service.Stream
	done   chan error

	mu    sync.Mutex
	stuck time.Time // until when its pipeline answers nothing
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+):([^}]*)\}`)

var pipeline = sync.OnceValue(func() string {
	text, err := os.ReadFile("../../config/pipelines/consumer.yaml")
	if err != nil {
		panic(err)
	}
	return string(text)
})

// config is the consumer's pipeline for one instance, without its HTTP server and its logs.
func (w *world) config(slot int) string {
	values := map[string]string{
		"KAFKA_BROKERS":   strings.Join(w.cluster.ListenAddrs(), ","),
		"COMMIT_INTERVAL": w.plan.commitInterval.String(),
		"SESSION_TIMEOUT": sessionTimeout.String(),
		"FAILURE_RATE":    fmt.Sprint(w.plan.failureRate),
		"FAILURE_MODE":    w.plan.failureMode,
		"FAILURE_SEED":    fmt.Sprint(w.plan.seed),
	}
	if slot < w.plan.static {
		values["INSTANCE_ID"] = fmt.Sprintf("consumer-%d", slot)
	}
	text := variable.ReplaceAllStringFunc(pipeline(), func(v string) string {
		m := variable.FindStringSubmatch(v)
		if value, ok := values[m[1]]; ok {
			return value
		}
		return m[2]
	})
	var c map[string]any
	require.NoError(w.t, yaml.Unmarshal([]byte(text), &c))
	c["http"] = map[string]any{"enabled": false}
	delete(c, "logger")
	c["metrics"] = map[string]any{"none": map[string]any{}}
	if w.plan.ordered {
		c["input"].(map[string]any)["kafka_transactional"].(map[string]any)["ordering"] = "key"
	}
	if w.plan.moody {
		c["output"] = map[string]any{"moody": map[string]any{"output": c["output"]}}
	}
	if w.plan.away != nil {
		w.plan.away.insert(c)
	}
	out, err := yaml.Marshal(c)
	require.NoError(w.t, err)
	return string(out)
}

// start starts an instance.
func (w *world) start(slot int) *instance {
	w.mu.Lock()
	w.started++
	i := &instance{slot: slot, id: fmt.Sprintf("instance-%d", w.started), net: newNetwork(w.net), done: make(chan error, 1)}
	w.mu.Unlock()
	env := service.NewEnvironment()
	require.NoError(w.t, kafkatransactional.Register(env, kgo.Dialer(i.net.dial), kgo.ClientID(i.id), kgo.DisableClientMetrics()))
	if w.plan.moody {
		newMoody := func(pc *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			inner, err := pc.FieldOutput("output")
			if err == nil {
				err = inner.Prime()
			}
			return moody{w, i, inner}, service.BatchPolicy{}, 64, err
		}
		require.NoError(w.t, env.RegisterBatchOutput("moody", service.NewConfigSpec().Field(service.NewOutputField("output")), newMoody))
	}
	if w.plan.away != nil {
		require.NoError(w.t, w.plan.away.register(env))
	}
	b := env.NewStreamBuilder()
	b.DisableLinting() // .ci/run lints the pipeline; each time here it took a tenth of all
	b.SetLogger(slog.New(slog.NewTextHandler(w.plan.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("instance", i.id))
	if w.plan.log == io.Discard {
		b.SetLogger(slog.New(slog.DiscardHandler))
	}
	require.NoError(w.t, b.SetYAML(w.config(slot)))
	var err error
	i.stream, err = b.Build()
	require.NoError(w.t, err)
	go func() { i.done <- i.stream.Run(context.Background()) }()
	w.mu.Lock()
	w.live = append(w.live, i)
	w.mu.Unlock()
	return i
}

// moody is an output around another one that now and then takes nothing, or says so when the
// other one has taken all, or says nothing for a while.
type moody struct {
	w     *world
	i     *instance
	inner *service.OwnedOutput
}

var errMood = errors.New("not this time")

func (moody) Connect(context.Context) error { return nil }

func (m moody) WriteBatch(ctx context.Context, msgs service.MessageBatch) error {
	m.i.unstuck(ctx)
	if m.w.nack() {
		return errMood
	}
	if err := m.inner.WriteBatch(ctx, msgs); err != nil {
		return err
	}
	m.i.unstuck(ctx)
	if m.w.nack() {
		return errMood
	}
	return nil
}

// stick makes the pipeline answer nothing for a while.
func (i *instance) stick(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if until := time.Now().Add(d); until.After(i.stuck) {
		i.stuck = until
	}
}

// unstuck waits until the pipeline goes on.
func (i *instance) unstuck(ctx context.Context) {
	for {
		i.mu.Lock()
		left := time.Until(i.stuck)
		i.mu.Unlock()
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(left):
		}
	}
}

func (m moody) Close(ctx context.Context) error { return m.inner.Close(ctx) }

func (w *world) nack() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nacks > 0 && w.nacking.Float64() < w.nacks
}

// bury takes an instance from the list of the living. It is false if it was not in it.
func (w *world) bury(i *instance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.live)
	w.live = slices.DeleteFunc(w.live, func(l *instance) bool { return l == i })
	if len(w.live) == n {
		return false
	}
	w.dead[i.id] = time.Now().Add(sessionTimeout)
	w.ended.Add(1)
	return true
}

// stop stops an instance as SIGTERM does.
func (w *world) stop(i *instance) {
	if w.bury(i) {
		go w.end(i)
	}
}

// crash takes an instance off the network for ever. What it still does reaches nobody.
func (w *world) crash(i *instance) {
	i.net.kill()
	if w.bury(i) {
		go w.end(i)
	}
}

func (w *world) end(i *instance) {
	defer w.ended.Done()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := i.stream.Stop(ctx)
		cancel()
		if err == nil || err.Error() != "stream has not been run yet" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case <-i.done:
		i.net.kill() // a process that has ended sends nothing more
	case <-time.After(stopping):
		w.stuck(i)
	}
}

// stopping bounds the time that a stop takes, beyond the minute after which the host gives up.
const stopping = 2 * time.Minute

// stuck ends the process, since a bubble with an instance that does not end cannot end either.
func (w *world) stuck(i *instance) {
	stacks := make([]byte, 1<<24)
	stacks = stacks[:runtime.Stack(stacks, true)]
	fmt.Printf("played %q\n", fmt.Sprintf("%s has not stopped in %v:\n%s", i.id, stopping, strings.Join(telling(string(stacks)), "\n\n")))
	os.Exit(1)
}

// telling leaves out the stacks of the host, the broker and the client.
func telling(text string) (told []string) {
	for part := range strings.SplitSeq(text, "\n\n") {
		if !strings.HasPrefix(part, "goroutine ") || strings.Contains(part, "/orderflow/plugins/") || strings.Contains(part, "GroupTransactSession") {
			told = append(told, part)
		}
	}
	return told
}

// pick returns a live instance.
func (w *world) pick(n int) *instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.live) == 0 {
		return nil
	}
	return w.live[n%len(w.live)]
}
