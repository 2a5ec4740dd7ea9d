"""Reads records of other schemas by the schema of an order, with fastavro.

usage: resolve.py READER_SCHEMA_FILE
in:  {"schema": the writer's, as text, "record": in base64}
out: {"whole": it is one record by the writer's schema, "error": null or why it is no order,
      "id": ..., "product": ..., "price": the bits of the double in hex, "decimal": the same of a price that is a decimal}
"""

import base64
import decimal
import io
import json
import struct
import sys

import fastavro


def bits(number):
    return "%x" % struct.unpack(">Q", struct.pack(">d", number))


def resolve(task, order):
    result = {"whole": False}
    record = base64.b64decode(task["record"])
    try:
        writer = fastavro.parse_schema(json.loads(task["schema"]))
    except Exception as e:  # whatever it is, it is why there is no order
        return {"whole": False, "error": "parsing: %r" % e}
    f = io.BytesIO(record)
    alone = fastavro.schemaless_reader(f, writer, None)
    result["whole"] = f.read() == b""
    if isinstance(alone, dict) and isinstance(alone.get("price"), decimal.Decimal):
        result["decimal"] = bits(float(alone["price"]))
    try:
        read = fastavro.schemaless_reader(io.BytesIO(record), writer, order)
        result.update(id=read["orderId"], product=read["product"], price=bits(read["price"]))
    except Exception as e:
        result["error"] = repr(e)
    return result


def main():
    # Of a number with a logical type it would make a time, which Python has for few numbers only.
    for name in [n for n in fastavro.read.LOGICAL_READERS if "decimal" not in n]:
        del fastavro.read.LOGICAL_READERS[name]
    with open(sys.argv[1]) as f:
        order = fastavro.parse_schema(json.load(f))
    for line in sys.stdin:
        print(json.dumps(resolve(json.loads(line), order)))


main()
