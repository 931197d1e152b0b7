#!/usr/bin/env bash
# async-kinesis' KPL processors make every plain record of up to 20 bytes vanish, without an error.
#
# A producer that aggregates still sends a lone record plain (the KPL does), and other producers never aggregate, so a
# consumer must tell the two apart by the format's magic and MD5. KPLStringProcessor and KPLJsonProcessor do not look: they
# cut 4 bytes off the front and 16 off the end, and parse what is left; of a short record nothing is left.
# Guess: a record without the magic is handed on as it is, as AWS's own decoders do.
# Seen (async-kinesis 3.0.1, aws-kinesis-agg 1.2.3): lengths 1 to 20 give no record; an aggregate gives its own two.
# Exits 0 while it behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    async-kinesis==3.0.1 aws-kinesis-agg==1.2.3 protobuf==7.36.2
cat > "$work/try.py" <<'PYTHON'
import sys
from aws_kinesis_agg.aggregator import RecordAggregator
from kinesis.processors import KPLJsonProcessor, KPLStringProcessor, StringProcessor

aggregator = RecordAggregator()
for data in ("1", "2"):
    aggregator.add_user_record("key", data.encode())
aggregate = aggregator.clear_and_get().get_contents()[2]
plain = [b"x" * length for length in range(1, 21)]
kept = {
    name: [len(list(processor.parse(data))) for data in plain]
    for name, processor in (("KPLStringProcessor", KPLStringProcessor()), ("StringProcessor", StringProcessor()))
}
numbers = [list(KPLJsonProcessor().parse(data)) for data in (b"1", b'{"paid":true}', b'"order 4711"')]
print("records out of 20 plain ones:", {name: sum(counts) for name, counts in kept.items()})
print("three short JSON documents:", numbers, "; an aggregate:", list(KPLStringProcessor().parse(aggregate)))
gone = not any(kept["KPLStringProcessor"]) and all(kept["StringProcessor"]) and numbers == [[], [], []]
sys.exit(0 if gone and list(KPLStringProcessor().parse(aggregate)) == ["1", "2"] else 1)
PYTHON
if "$work/venv/bin/python" "$work/try.py"; then
    echo "as described: short plain records vanish"
else
    echo "async-kinesis behaves otherwise now"
    exit 1
fi
