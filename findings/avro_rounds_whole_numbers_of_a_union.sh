#!/usr/bin/env bash
# Python's Avro libraries write an int as a double, rounded, although the union of the schema has "long" as well.
#
# The union ["null", "double", "long"] has a type for every whole number of 64 bits. An id above 2**53, such as a
# snowflake id, is written as the nearest double all the same, and comes back as a float: another id, without an error.
# Both libraries count "double" as a type of an int, and do not prefer "long". fastavro takes the first type that
# accepts the value, and avro the last. So no order of the union is right for both, and they write the same value by the
# same schema as different types.
# One would expect the long: fastavro itself takes the double of ["float", "double"], so that nothing is lost there.
# Seen: 9007199254740993 comes back as 9007199254740992.0 from fastavro 1.13.1 with "double" first, and from avro 1.12.0
# with "double" last.
# Exits 0 while both round the number in one of the two orders, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check fastavro==1.13.1 avro==1.12.0
cat > "$work/try.py" <<'PYTHON'
import io, json, sys
from importlib.metadata import version

import avro.io, avro.schema, fastavro

NUMBER = 2**53 + 1


def by_fastavro(union, value):
    schema, data = fastavro.parse_schema(union), io.BytesIO()
    fastavro.schemaless_writer(data, schema, value)
    data.seek(0)
    return fastavro.schemaless_reader(data, schema)


def by_avro(union, value):
    schema, data = avro.schema.parse(json.dumps(union)), io.BytesIO()
    avro.io.DatumWriter(schema).write(value, avro.io.BinaryEncoder(data))
    data.seek(0)
    return avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(data))


ROUNDED = 2.0**53
EXPECTED = {"fastavro": (ROUNDED, NUMBER), "avro": (NUMBER, ROUNDED)}  # with "double" first, with "long" first
as_described = True
for name, round_trip in (("fastavro", by_fastavro), ("avro", by_avro)):
    seen = tuple(round_trip(["null", *pair], NUMBER) for pair in (("double", "long"), ("long", "double")))
    print(f"{name} {version(name)}: of {NUMBER} comes {seen[0]!r} with double first, {seen[1]!r} with long first")
    as_described &= repr(seen) == repr(EXPECTED[name])
tenth = by_fastavro(["float", "double"], 0.1)
print(f"fastavro: 0.1 of a float or double comes back as {tenth!r}")
sys.exit(0 if as_described and tenth == 0.1 else 1)
PYTHON
"$work/venv/bin/python" "$work/try.py" || { echo "they behave otherwise now"; exit 1; }
echo "as described: a whole number is rounded to a double"
