#!/usr/bin/env bash
# botocore's Kinesis client takes a web page with status 200 for an answer: success, with no member in it.
#
# A proxy's login page or a load balancer's maintenance page comes as 200 and text/html. The client does not look at the
# content type and drops what is no JSON: put_records() returns without FailedRecordCount, so a caller that asks
# `answer.get("FailedRecordCount")` counts the batch as written; a get_records() loop that stops without a
# NextShardIterator takes the shard for closed. With a status from 400 on, the same page is an error.
# Guess: a ResponseParserError, as botocore raises for XML services that answer no XML.
# Seen (botocore 1.44.8): put_records, get_records and list_shards each return nothing but ResponseMetadata; the same page
#   with 413 is a ClientError whose code is "413" and whose message is the page.
# Exits 0 while botocore behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check botocore==1.44.8
cat > "$work/try.py" <<'PYTHON'
import http.server, sys, threading
import botocore, botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

PAGE = b"<html><body>Please sign in to the network</body></html>"


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
session = botocore.session.Session()
session.set_credentials("key", "secret")
endpoint = f"http://127.0.0.1:{server.server_port}"
config = Config(retries={"total_max_attempts": 1})
kinesis = session.create_client("kinesis", "us-east-1", endpoint_url=endpoint, config=config)


def calls():
    yield kinesis.put_records(StreamName="orders", Records=[{"Data": b"1", "PartitionKey": "key"}])
    yield kinesis.get_records(ShardIterator="iterator")
    yield kinesis.list_shards(StreamName="orders")


members = [sorted(answer) for answer in calls()]
Proxy.status = 413
try:
    kinesis.list_shards(StreamName="orders")
    said = None
except ClientError as error:
    said = error.response["Error"]
print(f"botocore {botocore.__version__}: 200: {members}; 413: {said}")
sys.exit(0 if members == [["ResponseMetadata"]] * 3 and said == {"Code": "413", "Message": PAGE.decode()} else 1)
PYTHON
if env -i PATH="$PATH" HOME="$work" "$work/venv/bin/python" "$work/try.py"; then
    echo "as described: a web page is an empty success"
else
    echo "botocore behaves otherwise now"
    exit 1
fi
