package dlqredrive

import "github.com/twmb/franz-go/pkg/kgo"

// anyPartition is the partition of a record that may go to any: the hash of its key decides.
const anyPartition = -1

// partitioner puts a record where it says, as long as there is such a partition. Whoever wrote
// the order first may have chosen its partition in another way than by our hash, and only there
// it keeps its place among the orders of its key.
type partitioner struct{ rest kgo.Partitioner }

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{p.rest.ForTopic(topic)}
}

type topicPartitioner struct{ rest kgo.TopicPartitioner }

func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition != anyPartition || p.rest.RequiresConsistency(r)
}

func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 && int(r.Partition) < n {
		return int(r.Partition)
	}
	return p.rest.Partition(r, n)
}
