package kafkatransactional

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// hub is where a stream's input and outputs meet. Outputs add themselves before the input
// connects.
type hub struct {
	reads []string // the topics of the input
	state string   // and where it keeps its state

	mu          sync.Mutex
	outcomes    map[string]bool // by topic that an output names literally: whether they are dead letters
	compression string
	partitioner string
	outputs     int
}

// add registers an output. Compression and partitioner belong to the client that all share. The
// topic is empty if each message has its own.
func (h *hub) add(topic string, deadLetters bool, partitioner, compression string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch other, known := h.outcomes[topic]; {
	case topic == h.state:
		return fmt.Errorf("field %s: %q is the %s of the input: the state needs a topic of its own", fieldTopic, topic, fieldStateTopic)
	case slices.Contains(h.reads, topic):
		return fmt.Errorf("field %s: %q is one of the %s of the input: what is written there would be read again", fieldTopic, topic, fieldTopics)
	case known && other != deadLetters:
		return fmt.Errorf("field %s: %q has processed messages and dead letters: each %s needs a topic of its own", fieldTopic, topic, fieldOutcome)
	}
	if h.outputs > 0 && h.compression != compression {
		return fmt.Errorf("field %s: %q differs from %q of another kafka_transactional output in the stream: they share one client", fieldCompression, compression, h.compression)
	}
	if h.outputs > 0 && h.partitioner != partitioner {
		return fmt.Errorf("field %s: %q differs from %q of another kafka_transactional output in the stream: they share one client", fieldPartitioner, partitioner, h.partitioner)
	}
	h.compression, h.partitioner = compression, partitioner
	h.outputs++
	if topic != "" {
		h.outcomes[topic] = deadLetters
	}
	return nil
}

// producerOpts are the client options that the outputs ask for, and the topics they name.
func (h *hub) producerOpts(stateTopic string) ([]kgo.Opt, []string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := kgo.StickyKeyPartitioner(nil)
	switch h.partitioner {
	case "round_robin":
		rest = kgo.RoundRobinPartitioner()
	case "least_backup":
		rest = kgo.LeastBackupPartitioner()
	case "manual":
		rest = kgo.ManualPartitioner()
	}
	codec := kgo.SnappyCompression()
	switch h.compression {
	case "lz4":
		codec = kgo.Lz4Compression()
	case "gzip":
		codec = kgo.GzipCompression()
	case "zstd":
		codec = kgo.ZstdCompression()
	case "none":
		codec = kgo.NoCompression()
	}
	return []kgo.Opt{
		kgo.RecordPartitioner(partitioner{state: stateTopic, rest: rest}),
		kgo.ProducerBatchCompression(codec, kgo.NoCompression()),
	}, slices.Sorted(maps.Keys(h.outcomes)), nil
}

// partitioner puts state records into the partition that they name: the number of the source
// partition whose state they are.
type partitioner struct {
	state string
	rest  kgo.Partitioner
}

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.state {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return p.rest.ForTopic(topic)
}
