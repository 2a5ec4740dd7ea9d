package devbroker

import (
	"encoding/binary"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFrame is the largest request with records that is let through. It is Kafka's own default
	// (socket.request.max.bytes).
	maxFrame = 100 << 20
	// maxPlainFrame is the largest one without records. Such a request is taken apart into pieces
	// that are many times larger than they were on the wire.
	maxPlainFrame = 1 << 20
	// frameHeader is what every request starts with: size (4), API key (2), version (2),
	// correlation id (4).
	frameHeader = 12

	// maxPartitions is how many partitions a topic may have, and a request may ask for.
	maxPartitions = 10_000
	// maxFetch is the most bytes that an answer to a fetch has, its last batch aside, and
	// maxFetchWait the longest time that a fetch waits, also one whose client has gone away.
	maxFetch     = 64 << 20
	maxFetchWait = 60_000 // ms
)

// checkHead returns the size of the frame after its four size bytes, or why the frame is refused.
func checkHead(head [frameHeader]byte) (int, error) {
	size := binary.BigEndian.Uint32(head[:4])
	key := int16(binary.BigEndian.Uint16(head[4:6]))
	version := int16(binary.BigEndian.Uint16(head[6:8]))
	most := uint32(maxPlainFrame)
	if key == kmsg.Produce.Int16() {
		most = maxFrame
	}
	if size < frameHeader-4 || size > most {
		return 0, fmt.Errorf("frame of %d bytes: expected %d to %d", size, frameHeader-4, most)
	}
	req := kmsg.RequestForKey(key)
	if req == nil {
		return 0, fmt.Errorf("unknown API key %d", key)
	}
	// A client asks for API versions with the newest version it has, and learns from the answer
	// what the broker has.
	if key != kmsg.ApiVersions.Int16() && (version < 0 || version > req.MaxVersion()) {
		return 0, fmt.Errorf("unknown version %d of %s", version, kmsg.NameForKey(key))
	}
	return int(size), nil
}

// tame returns the frame as the broker can bear it, which is nearly always as it came, or why it
// is refused. Numbers that would have the broker allocate or wait without bound are cut to what a
// broker may choose by the protocol; what it has to be refused for gets a number that the broker
// answers with the right error.
func tame(frame []byte, log *slog.Logger) ([]byte, error) {
	key := int16(binary.BigEndian.Uint16(frame[4:6]))
	switch kmsg.Key(key) {
	case kmsg.Produce, kmsg.Fetch, kmsg.ShareFetch, kmsg.CreateTopics, kmsg.CreatePartitions:
	default:
		return frame, nil
	}
	req := kmsg.RequestForKey(key)
	req.SetVersion(int16(binary.BigEndian.Uint16(frame[6:8])))
	reader := kbin.Reader{Src: frame[frameHeader:]}
	reader.NullableString() // the client's id
	if req.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	body := len(frame) - len(reader.Src)
	err := reader.Complete()
	if err == nil {
		err = req.ReadFrom(reader.Src)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s request: %w", kmsg.NameForKey(key), err)
	}
	changed, err := limit(req, log)
	if err != nil || !changed {
		return frame, err
	}
	tamed := req.AppendTo(frame[:body:body])
	binary.BigEndian.PutUint32(tamed, uint32(len(tamed)-4))
	return tamed, nil
}

// limit cuts the numbers of a request, and reports whether there was anything to cut.
func limit(req kmsg.Request, log *slog.Logger) (changed bool, err error) {
	atMost := func(n *int32, most int32) {
		if *n > most {
			*n, changed = most, true
		}
	}
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		for _, topic := range req.Topics {
			for _, partition := range topic.Partitions {
				if err := checkBatch(partition.Records); err != nil {
					return false, fmt.Errorf("batch for topic %q, partition %d: %w", topic.Topic, partition.Partition, err)
				}
			}
		}
	case *kmsg.FetchRequest:
		atMost(&req.MaxBytes, maxFetch)
		atMost(&req.MaxWaitMillis, maxFetchWait)
	case *kmsg.ShareFetchRequest:
		atMost(&req.MaxBytes, maxFetch)
		atMost(&req.MaxWaitMillis, maxFetchWait)
	case *kmsg.CreateTopicsRequest:
		sum := 0
		for i := range req.Topics {
			topic := &req.Topics[i]
			partitions := max(1, int(topic.NumPartitions), len(topic.ReplicaAssignment))
			if sum += partitions; sum > maxPartitions {
				log.Warn("Refusing to create a topic", "topic", topic.Topic, "partitions", partitions, "most_of_a_request", maxPartitions)
				topic.NumPartitions, topic.ReplicaAssignment = 0, nil // the broker answers INVALID_PARTITIONS
				changed = true
			}
		}
	case *kmsg.CreatePartitionsRequest:
		for i := range req.Topics {
			if topic := &req.Topics[i]; topic.Count > maxPartitions {
				log.Warn("Refusing to add partitions to a topic", "topic", topic.Topic, "partitions", topic.Count, "most", maxPartitions)
				topic.Count = 0 // the broker answers INVALID_PARTITIONS
				changed = true
			}
		}
	}
	return changed, nil
}

// Where a batch of records has what checkBatch looks at.
const (
	batchMagic      = 16
	batchAttributes = 21
	batchCount      = 57
	batchHeader     = 61
	// compression are the bits of the attributes' low byte that are 0 where nothing is compressed.
	compression = 7
	// smallestRecord is a record without key, value and headers: seven fields of a byte each.
	smallestRecord = 7
)

// checkBatch refuses a batch whose count of records cannot be right: the broker moves the
// partition's end by that count without looking for the records.
func checkBatch(batch []byte) error {
	if len(batch) < batchHeader || batch[batchMagic] != 2 {
		return nil // the broker answers CORRUPT_MESSAGE
	}
	count := int32(binary.BigEndian.Uint32(batch[batchCount:]))
	if count < 1 {
		return fmt.Errorf("%d records: expected 1 or more", count)
	}
	most := int32((len(batch) - batchHeader) / smallestRecord)
	if plain := batch[batchAttributes+1]&compression == 0; plain && count > most {
		return fmt.Errorf("%d records: expected %d at most in %d bytes", count, most, len(batch))
	}
	return nil
}
