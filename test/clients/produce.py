#!/usr/bin/env python3
"""Writes orders with confluent-kafka and fastavro, a client and a codec that share no code with
Orderflow. For each record that the broker has acknowledged it prints one line of JSON:

    {"name": …, "topic": …, "partition": …, "offset": …, "key": …, "value": …, "headers": [[name, value], …]}

with keys and values in base64, or null.

    produce.py orders --brokers B --topic orders --count 100 [--framing confluent --schema-id 1]
    produce.py odd    --brokers B --topic orders --limit 1048588 [--schema-id 1 --unknown-id 999]

"orders" are sound. "odd" ones are what a topic should not, but will, contain.
"""

import argparse
import base64
import io
import json
import struct
import sys

import fastavro
from confluent_kafka import Producer

PRODUCTS = ["Laptop", "Phone", "Tablet", "Monitor", "Keyboard"]


def main():
    args = arguments()
    with open(args.schema, encoding="utf-8") as file:
        schema = fastavro.parse_schema(json.load(file))
    records = orders(args, schema) if args.what == "orders" else odd(args, schema)
    send(args, records)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["orders", "odd"])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--schema", default="config/schemas/order.avsc")
    parser.add_argument("--schema-id", type=int, help="the id of the schema in the registry; without one, odd records are plain")
    parser.add_argument("--unknown-id", type=int, default=999_999, help="an id that the registry does not know")
    parser.add_argument("--framing", choices=["plain", "confluent"], default="plain")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--prefix", default="py", help="what the order ids begin with")
    parser.add_argument("--limit", type=int, default=1_048_588, help="the topic's max.message.bytes")
    parser.add_argument("--honest", action="store_true", help="leave out odd records with headers named like what is kept about a record")
    args = parser.parse_args()
    if args.framing == "confluent" and args.schema_id is None:
        parser.error("--framing confluent needs --schema-id")
    return args


def send(args, records):
    """Produces (name, key, value, headers) and reports what was acknowledged."""
    producer = Producer({
        "bootstrap.servers": args.brokers,
        "enable.idempotence": True,
        "message.max.bytes": 100_000_000,  # the topic decides
    })
    failed = []

    def delivered(name, key, value, headers):
        def report(error, message):
            if error is not None:
                failed.append(f"{name}: {error}")
                return
            print(json.dumps({
                "name": name,
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "key": text(key),
                "value": text(value),
                "headers": [[header, text(content)] for header, content in headers],
            }))
        return report

    for name, key, value, headers in records:
        producer.produce(args.topic, key=key, value=value, headers=headers,
                         on_delivery=delivered(name, key, value, headers))
        producer.poll(0)
    left = producer.flush(60)
    if failed or left:
        sys.exit("\n".join(failed + [f"not acknowledged: {left}"]))


def text(content):
    return None if content is None else base64.b64encode(content).decode()


def avro(schema, order_id, product, price):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"orderId": order_id, "product": product, "price": price})
    return out.getvalue()


def framed(schema_id, record):
    return struct.pack(">bI", 0, schema_id) + record


def orders(args, schema):
    for i in range(args.count):
        order_id = f"{args.prefix}-{i:05d}"
        value = avro(schema, order_id, PRODUCTS[i % len(PRODUCTS)], (1000 + i * 3701 % 49_000) / 100)
        if args.framing == "confluent":
            value = framed(args.schema_id, value)
        yield order_id, order_id.encode(), value, []


def odd(args, schema):
    """Each bad record comes twice: small, and padded by a header to nearly the topic's limit."""
    for name, value in bad(args, schema):
        key = name.encode()
        yield name, key, value, []
        room = args.limit - 61 - 40 - len(key) - len(value or b"")
        yield f"{name}, near the limit", key, value, [("padding", b"p" * room)]

    # Values that are near the limit themselves.
    room = args.limit - 61 - 60
    yield "broken Avro, large value", b"large", b"\xff" * (room - 100), []
    yield "price 0, large value", b"large", avro(schema, "large", "P" * (room - 100), 0.0), []
    yield from sound(args, schema)

    # A bad record keeps what is odd about its key and its headers.
    kept = [("trace", b"a"), ("trace", b"\xff\xfe"), ("other", None), ("trace", b"a"), ("empty", b"")]
    yield "price 0, odd key and headers", b"\x00\xff\xfe", avro(schema, "odd", "Pen", 0.0), kept
    yield "price 0, null key", None, avro(schema, "odd", "Pen", 0.0), []
    yield "price 0, empty key", b"", avro(schema, "odd", "Pen", 0.0), []
    if not args.honest:
        yield "price 0, lying headers", b"lies", avro(schema, "odd", "Pen", 0.0), lies()


def bad(args, schema):
    good = avro(schema, "A-1", "Pen", 1.5)
    yield "null value", None
    yield "empty value", b""
    yield "broken Avro", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
    yield "truncated Avro", good[:-1]
    yield "bytes after the record", good + b"\x00"
    yield "no Avro but JSON", b'{"orderId":"A-1","product":"Pen","price":1.5}'
    yield "price 0", avro(schema, "A-1", "Pen", 0.0)
    yield "price -0", avro(schema, "A-1", "Pen", -0.0)
    yield "price negative", avro(schema, "A-1", "Pen", -1.5)
    yield "price NaN", avro(schema, "A-1", "Pen", float("nan"))
    yield "price infinite", avro(schema, "A-1", "Pen", float("inf"))
    yield "price minus infinite", avro(schema, "A-1", "Pen", float("-inf"))
    yield "no order id", avro(schema, "", "Pen", 1.5)
    yield "no product", avro(schema, "A-1", "", 1.5)
    if args.schema_id is not None:
        yield "unknown schema id", framed(args.unknown_id, good)
        yield "frame without a record", framed(args.schema_id, b"")
        yield "frame with broken Avro", framed(args.schema_id, b"\xff\xff\xff\xff")
        yield "framed, price 0", framed(args.schema_id, avro(schema, "A-1", "Pen", 0.0))


def sound(args, schema):
    good = avro(schema, "A-1", "Pen", 1.5)
    yield "sound", b"A-1", good, []
    yield "sound, repeated order id", b"A-1", good, []
    yield "sound, null key", None, good, []
    yield "sound, empty key", b"", good, []
    yield "sound, binary key", b"\x00\xff\xfe", good, []
    yield "sound, headers repeat", b"A-1", good, [("trace", b"a"), ("trace", b"b"), ("trace", b"a")]
    yield "sound, headers not UTF-8", b"A-1", good, [("trace", b"\xff\xfe\x00"), ("null", None), ("empty", b"")]
    if not args.honest:
        yield "sound, lying headers", b"A-1", good, lies()
    yield "sound, large", b"A-1", avro(schema, "A-1", "P" * (args.limit // 2), 1.5), []
    yield "sound, not ASCII", "Ä-1".encode(), avro(schema, "Ä-1", "Füllfederhalter ✒", 1.5), []
    if args.schema_id is not None:
        yield "sound, framed", b"A-1", framed(args.schema_id, good), []


def lies():
    """Headers named like what the host and Orderflow keep about a record."""
    return [(name, value.encode()) for name, value in {
        "kafka_topic": "elsewhere",
        "kafka_partition": "77",
        "kafka_offset": "4711",
        "kafka_key": "another",
        "kafka_timestamp_ms": "0",
        "kafka_tombstone_message": "true",
        "kafka_lag": "1",
        "__rpcn_kafka_headers": "x",
        "origin": "elsewhere/77/4711",
        "original_value": "another",
        "dead_letter": "true",
        "fallback_error": "a lie",
        "dlq_class": "transient",
        "dlq_code": "a_lie",
        "dlq_topic": "elsewhere",
        "dlq_partition": "77",
        "dlq_offset": "4711",
        "dlq_attempts": "99",
    }.items()]


if __name__ == "__main__":
    main()
