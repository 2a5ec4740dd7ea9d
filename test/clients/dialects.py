#!/usr/bin/env python3
"""Dead letters as other systems write and read them, with confluent-kafka: a client that shares no
code with Orderflow.

    dialects.py write --brokers B --topic T             one letter each, as the recoverer of Spring for
                                                        Apache Kafka and as Kafka Connect write it
    dialects.py read  --brokers B --topic T             prints what such a system reads of each letter,
                                                        as one line of JSON with numbers as numbers
"""

import argparse
import base64
import io
import json
import struct
import sys

import fastavro
from confluent_kafka import Consumer, Producer
from read_dlq import read

TEXT = bytes.decode
# Spring's numbers are a Java int and longs, Connect's are text.
TYPES = {
    "kafka_dlt-original-partition": lambda v: struct.unpack(">i", v)[0],
    "kafka_dlt-original-offset": lambda v: struct.unpack(">q", v)[0],
    "kafka_dlt-original-timestamp": lambda v: struct.unpack(">q", v)[0],
    "__connect.errors.partition": lambda v: int(v.decode()),
    "__connect.errors.offset": lambda v: int(v.decode()),
    "__connect.errors.task.id": lambda v: int(v.decode()),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "read"])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--timeout", type=float, default=60, help="seconds")
    parser.add_argument("--schema", default="config/schemas/order.avsc")
    args = parser.parse_args()
    if args.what == "write":
        write(args)
        return
    consumer = Consumer({
        "bootstrap.servers": args.brokers,
        "group.id": "dialects",  # required, but nothing is committed
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    })
    try:
        read(consumer, args, show)
    finally:
        consumer.close()


def show(message):
    known = {
        name: TYPES.get(name, TEXT)(value)
        for name, value in message.headers() or []
        if name.startswith(("kafka_dlt-", "__connect.errors."))
    }
    said = base64.b64encode(json.dumps(known).encode()).decode()  # as the value of a record, which the test knows to read
    print(json.dumps({"name": message.key().decode(), "value": said}))


def write(args):
    with open(args.schema, encoding="utf-8") as file:
        schema = fastavro.parse_schema(json.load(file))
    value = io.BytesIO()
    fastavro.schemaless_writer(value, schema, {"orderId": "foreign", "product": "Pen", "price": 2.5})
    spring = [
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_dlt-exception-message", b"no stock of sku-17"),
        ("kafka_dlt-exception-stacktrace", b"java.lang.IllegalStateException: no stock of sku-17\n\tat shop.Stock.take(Stock.java:12)\n"),
        ("kafka_dlt-original-topic", b"shop"),
        ("kafka_dlt-original-partition", struct.pack(">i", 2)),
        ("kafka_dlt-original-offset", struct.pack(">q", 4711)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", 1_700_000_000_123)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"shop-group"),
    ]
    connect = [
        ("__connect.errors.topic", b"shop"),
        ("__connect.errors.partition", b"1"),
        ("__connect.errors.offset", b"8"),
        ("__connect.errors.connector.name", b"shop-sink"),
        ("__connect.errors.task.id", b"0"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
        ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
        ("__connect.errors.exception.message", b"no schema"),
        ("__connect.errors.exception.stacktrace", b"org.apache.kafka.connect.errors.DataException: no schema\n"),
    ]
    producer = Producer({"bootstrap.servers": args.brokers, "enable.idempotence": True})
    failed = []
    for headers in (spring, connect):
        producer.produce(args.topic, key=b"foreign", value=value.getvalue(), headers=headers,
                         on_delivery=lambda error, _: failed.append(str(error)) if error else None)
    if producer.flush(args.timeout) or failed:
        sys.exit("not acknowledged: " + ", ".join(failed))


if __name__ == "__main__":
    main()
