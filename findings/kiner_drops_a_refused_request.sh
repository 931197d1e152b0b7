#!/usr/bin/env bash
# kiner drops up to 500 records without a word when one PutRecords request is refused or cannot be sent.
#
# It retries records that an answer names as failed. But the flush runs in a thread pool whose results nobody asks for: a
# request that raises (throttled as a whole, access denied, no network) takes its batch with it: no retry, no log line,
# no `failed_records.dlq`, and close() returns as if all had been sent.
# Guess: the exception comes out of the next put_record() or of close(), or the batch goes to the dead letter file.
# Seen (kiner 0.8.0): 20 records put, the first request refused: 10 arrive, nothing raised, nothing logged.
# Exits 0 while it behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check kiner==0.8.0 boto3==1.43.117
cat > "$work/try.py" <<'PYTHON'
import io, logging, os, sys, threading
import boto3
from botocore.exceptions import ClientError
from kiner.producer import KinesisProducer

log = io.StringIO()
logging.basicConfig(stream=log, level=logging.WARNING)
boto3.set_stream_logger("boto3", logging.CRITICAL)
arrived, refused = [], threading.Event()


class Client:
    """Refuses the first request as the service does when it throttles one whole, and takes the others."""

    def put_records(self, StreamName, Records):
        if not refused.is_set():
            refused.set()
            error = {"Code": "LimitExceededException", "Message": "Rate exceeded"}
            raise ClientError({"Error": error}, "PutRecords")
        arrived.extend(record["Data"] for record in Records)
        answers = [{"SequenceNumber": "1", "ShardId": "shardId-000000000000"} for _ in Records]
        return {"FailedRecordCount": 0, "Records": answers}


producer = KinesisProducer("orders", batch_size=10, batch_time=0.2, kinesis_client=Client())
raised = None
try:
    for number in range(10):
        producer.put_record(f"first-{number}")
    producer.put_record("second-0")  # the queue is full: the pool sends it
    refused.wait(30)
    for number in range(1, 10):
        producer.put_record(f"second-{number}")
    producer.close()
except Exception as error:
    raised = error
lost = 20 - len(arrived)
print(f"20 put, {len(arrived)} arrived; raised: {raised}; logged: {log.getvalue()!r}")
print("dead letter file:", os.path.exists("failed_records.dlq"))
sys.exit(0 if lost > 0 and raised is None and not log.getvalue() and not os.path.exists("failed_records.dlq") else 1)
PYTHON
cd "$work"
if "$work/venv/bin/python" "$work/try.py"; then
    echo "as described: the refused request's records are gone, and nothing says so"
else
    echo "kiner behaves otherwise now"
    exit 1
fi
