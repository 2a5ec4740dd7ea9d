package deadletter

// The recoverer of Spring for Apache Kafka. Its numbers are big-endian binary; what it calls the
// cause is what failed, since the exception itself is that of its listener.
var springColumns = []column{
	exception("kafka_dlt-exception-fqcn", false),
	exception("kafka_dlt-exception-cause-fqcn", true),
	text("kafka_dlt-exception-message", HeaderError, errorOf),
	trace("kafka_dlt-exception-stacktrace"),
	text("kafka_dlt-original-topic", HeaderTopic, topicOf),
	bigEndian("kafka_dlt-original-partition", HeaderPartition, 4, partitionOf),
	bigEndian("kafka_dlt-original-offset", HeaderOffset, 8, offsetOf),
	millis("kafka_dlt-original-timestamp"),
	constant("kafka_dlt-original-timestamp-type", "CreateTime"), // Kafka's default; inputs do not tell
	text("kafka_dlt-original-consumer-group", HeaderGroup, groupOf),
}

// The retry topics of Spring for Apache Kafka, from which a record goes to a dead-letter topic under
// names of their own; the group keeps that of the recoverer. Before version 2.8 a number of retries
// had as few bytes as it needs, as the other headers of retry topics have to this day. They are only
// read.
var springRetryColumns = []column{
	exception("kafka_exception-fqcn", false),
	exception("kafka_exception-cause-fqcn", true),
	text("kafka_exception-message", HeaderError, errorOf),
	trace("kafka_exception-stacktrace"),
	text("kafka_original-topic", HeaderTopic, topicOf),
	bigEndian("kafka_original-partition", HeaderPartition, 4, partitionOf),
	bigEndian("kafka_original-offset", HeaderOffset, 8, offsetOf),
	{
		name: "retry_topic-original-timestamp", aside: true, binary: true,
		read: func(l *Letter, value string) {
			if ms, ok := shortBigEndian(value); ok {
				l.Timestamp = Millis(ms)
			}
		},
	},
	millis("kafka_original-timestamp"), // the same, and of records that were never retried too
	aside(text("kafka_dlt-original-consumer-group", HeaderGroup, groupOf)),
	{
		name: "retry_topic-attempts", aside: true, binary: true,
		read: func(l *Letter, value string) {
			// It is the number of the attempt that would come next, which the dead-letter topic takes.
			if n, ok := shortBigEndian(value); ok && n >= 1 && n <= maxSmall {
				l.Attempts = int(n) - 1
			}
		},
	},
}

// Kafka Connect, all UTF-8. A connector's name stands for the group, and the one task has number
// 0; its stages are of a list of its own, so that ours is also written natively.
var connectColumns = []column{
	text("__connect.errors.topic", HeaderTopic, topicOf),
	number("__connect.errors.partition", HeaderPartition, maxSmall, partitionOf),
	number("__connect.errors.offset", HeaderOffset, maxLarge, offsetOf),
	text("__connect.errors.connector.name", "", groupOf),
	constant("__connect.errors.task.id", "0"),
	text("__connect.errors.stage", "", stageOf),
	{
		name:  "__connect.errors.class.name",
		write: func(l *Letter) (string, bool) { return exceptionPrefix + l.Stage, l.Stage != "" },
		read:  func(*Letter, string) {}, // the stage says it shorter
	},
	exception("__connect.errors.exception.class.name", false),
	text("__connect.errors.exception.message", HeaderError, errorOf),
	trace("__connect.errors.exception.stacktrace"),
}

// Kafka Streams (KIP-1034), all UTF-8.
var streamsColumns = []column{
	exception("__streams.errors.exception", false),
	text("__streams.errors.message", HeaderError, errorOf),
	trace("__streams.errors.stacktrace"),
	text("__streams.errors.topic", HeaderTopic, topicOf),
	number("__streams.errors.partition", HeaderPartition, maxSmall, partitionOf),
	number("__streams.errors.offset", HeaderOffset, maxLarge, offsetOf),
}

// SmallRye Reactive Messaging, all UTF-8.
var smallryeColumns = []column{
	text("dead-letter-reason", HeaderError, errorOf),
	trace("dead-letter-cause"),
	exception("dead-letter-exception-class-name", false),
	exception("dead-letter-cause-class-name", false),
	text("dead-letter-topic", HeaderTopic, topicOf),
	number("dead-letter-partition", HeaderPartition, maxSmall, partitionOf),
	number("dead-letter-offset", HeaderOffset, maxLarge, offsetOf),
}

// Share groups (KIP-1191), all UTF-8.
var shareColumns = []column{
	text("__dlq.errors.topic", HeaderTopic, topicOf),
	number("__dlq.errors.partition", HeaderPartition, maxSmall, partitionOf),
	number("__dlq.errors.offset", HeaderOffset, maxLarge, offsetOf),
	text("__dlq.errors.group", HeaderGroup, groupOf),
	number("__dlq.errors.delivery.count", HeaderAttempts, maxSmall, attemptsOf),
	text("__dlq.errors.message", HeaderError, errorOf),
}
