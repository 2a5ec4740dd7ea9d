#!/usr/bin/env python3
"""Writes orders with confluent-kafka's own serializer, which puts the GUID of the latest schema of
the subject into a header. It prints what produce.py prints.

    header.py --brokers B --topic orders --registry URL --count 20
"""

import argparse

from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from produce import send


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    client = SchemaRegistryClient({"url": args.registry})
    serialize = AvroSerializer(client, conf={
        "schema.id.serializer": header_schema_id_serializer, "auto.register.schemas": False, "use.latest.version": True,
    })
    send(args, orders(args, serialize))


def orders(args, serialize):
    for i in range(args.count):
        headers = [("trace", b"a")]
        context = SerializationContext(args.topic, MessageField.VALUE, headers)
        order = {"orderId": "header-%d" % i, "product": "Pen", "price": 1.5 + i}
        value = serialize(order, context)
        yield "in a header", order["orderId"].encode(), value, headers


if __name__ == "__main__":
    main()
