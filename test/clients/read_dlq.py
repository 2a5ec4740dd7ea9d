#!/usr/bin/env python3
"""Reads what is committed on a topic, from its beginning to its end, with confluent-kafka (that
is librdkafka), and prints each record as one line of JSON:

    {"topic": …, "partition": …, "offset": …, "key": …, "value": …, "headers": [[name, value], …]}

with keys and values in base64, or null. Headers repeat where they repeat on the record.

    read_dlq.py --brokers B --topic orders-dlq
"""

import argparse
import base64
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--timeout", type=float, default=60, help="seconds")
    args = parser.parse_args()

    consumer = Consumer({
        "bootstrap.servers": args.brokers,
        "group.id": "read_dlq",  # required, but nothing is committed
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.message.max.bytes": 50_000_000,
    })
    try:
        read(consumer, args, show)
    finally:
        consumer.close()


def read(consumer, args, each):
    partitions = consumer.list_topics(args.topic, timeout=args.timeout).topics[args.topic].partitions
    consumer.assign([TopicPartition(args.topic, p, OFFSET_BEGINNING) for p in partitions])
    unread = set(partitions)
    deadline = time.monotonic() + args.timeout
    while unread:
        message = consumer.poll(0.5)
        if time.monotonic() > deadline:
            sys.exit(f"partitions not read to their end within {args.timeout} s: {sorted(unread)}")
        if message is None:
            continue
        if message.error() is None:
            each(message)
        elif message.error().code() == KafkaError._PARTITION_EOF:
            unread.discard(message.partition())
        else:
            sys.exit(str(message.error()))


def show(message):
    print(json.dumps({
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": text(message.key()),
        "value": text(message.value()),
        "headers": [[name, text(content)] for name, content in message.headers() or []],
    }))


def text(content):
    return None if content is None else base64.b64encode(content).decode()


if __name__ == "__main__":
    main()
