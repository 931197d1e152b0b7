#!/usr/bin/env bash
# moto answers 404 to CreateBucket for a bucket whose name is that of an AWS service, such as "logs" or "firehose".
#
# botocore puts the bucket's name in front of the host: logs.s3.amazonaws.com. moto finds the service by the host, and
# for some names the pattern of another service (logs.*.amazonaws.com) comes first. A test of log delivery, which likes
# to name its bucket "logs", fails with "Not Found" and no word about the name. With path-style addresses all names work.
# Guess: the name of a bucket does not matter, as long as it is valid.
# Seen (moto 5.2.5, boto3 1.44.8, Python 3.11): athena, config, events, firehose, iam, kinesis, logs, monitoring: 404;
#   batch, data, lambda, logs.prod, sns, sqs: created. Path-style: all created.
# Exits 0 while moto takes these bucket names for services, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check "moto[s3]==5.2.5" boto3==1.44.8
cat > "$work/try.py" <<'PYTHON'
import sys
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

TAKEN = ["athena", "config", "events", "firehose", "iam", "kinesis", "logs", "monitoring"]
FREE = ["batch", "data", "lambda", "logs.prod", "sns", "sqs"]


def status(client, name):
    try:
        return client.create_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


found = {}
for style in ("auto", "path"):
    with mock_aws():
        client = boto3.client("s3", "us-east-1", config=Config(s3={"addressing_style": style}))
        found[style] = {name: status(client, name) for name in TAKEN + FREE}
        print(style, found[style])
expected = {name: 404 if name in TAKEN else 200 for name in TAKEN + FREE}
sys.exit(0 if found["auto"] == expected and set(found["path"].values()) == {200} else 1)
PYTHON
if AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret "$work/venv/bin/python" "$work/try.py"; then
    echo "as described: moto 5.2.5 takes buckets with the names of some services for these services"
else
    echo "moto behaves otherwise now"
    exit 1
fi
