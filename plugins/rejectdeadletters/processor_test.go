package rejectdeadletters

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/deadletter"
)

func TestOnlyWhatIsMarkedGetsAnError(t *testing.T) {
	own := errors.New("own")
	batch := service.MessageBatch{}
	for _, mark := range []any{true, nil, "true", false, 1} {
		msg := service.NewMessage([]byte("content"))
		if mark != nil {
			msg.MetaSetMut(deadletter.MetaMark, mark)
		}
		batch = append(batch, msg)
	}
	batch = append(batch, service.NewMessage(nil))
	batch[5].SetError(own)
	out, err := processor{}.ProcessBatch(context.Background(), batch)
	require.NoError(t, err)
	require.Equal(t, []service.MessageBatch{batch}, out)
	require.ErrorIs(t, batch[0].GetError(), errDeadLetter)
	for _, msg := range batch[1:5] {
		require.NoError(t, msg.GetError(), "a header is text and marks nothing")
	}
	require.ErrorIs(t, batch[5].GetError(), own)
}

// sink is an output that remembers what it was given.
type sink struct {
	mu  sync.Mutex
	got []string
}

func (s *sink) Connect(context.Context) error { return nil }
func (s *sink) Close(context.Context) error   { return nil }

func (s *sink) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, msg := range batch {
		b, err := msg.AsBytes()
		if err != nil {
			return err
		}
		s.got = append(s.got, fmt.Sprintf("%s %v", b, msg.GetError()))
	}
	return nil
}

func TestEachMessageGoesToItsOutputInBothErrorHandlingModes(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strict=%v", strict), func(t *testing.T) {
			sinks := map[string]*sink{"sound": {}, "dead": {}}
			env := service.NewEnvironment()
			for name, s := range sinks {
				require.NoError(t, env.RegisterBatchOutput(name, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
					return s, service.BatchPolicy{}, 1, nil
				}))
			}
			b := env.NewStreamBuilder()
			require.NoError(t, b.SetYAML(fmt.Sprintf(`
error_handling: { strict: %v }
logger: { level: NONE }
input:
  generate:
    count: 6
    batch_size: 3
    interval: ""
    mapping: |
      root = "order " + count("%s").string()
      meta dead_letter = if count("%[2]s-meta") %% 3 == 0 { true } else { deleted() }
output:
  fallback:
    - reject_errored:
        sound: {}
      processors:
        - reject_dead_letters: {}
    - dead: {}
`, strict, t.Name())))
			stream, err := b.Build()
			require.NoError(t, err)
			require.NoError(t, stream.Run(t.Context()))
			require.Equal(t, []string{"order 1 <nil>", "order 2 <nil>", "order 4 <nil>", "order 5 <nil>"}, sinks["sound"].got)
			require.Equal(t, []string{"order 3 <nil>", "order 6 <nil>"}, sinks["dead"].got)
		})
	}
}
