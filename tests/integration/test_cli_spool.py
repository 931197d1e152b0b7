"""`kplpy spool send` against the local Kinesis."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from kplpy.cli.app import cli
from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.local import LocalKinesis
from kplpy.spool.part import Part
from tests.local_stream import user_records


def record(data: bytes) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", "17", NO_HASH_KEY
    return made


def test_send_sends_what_was_left(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    first, _ = part.write([("a", 1e9, [record(b"answered"), record(b"1")]), ("b", 1e9, [record(b"2"), record(b"3")])])
    part.answered({first: b"\1\0"})
    part.close()
    with LocalKinesis(streams={"a": 1, "b": 1}) as kinesis:
        arguments = ["spool", "send", str(tmp_path), "--endpoint-url", kinesis.endpoint_url, "--region", "us-east-1"]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        assert "sent 3 of 3 records" in result.output
        assert sorted(each.data for name in "ab" for each in user_records(kinesis, name)) == [b"1", b"2", b"3"]
    assert list(tmp_path.iterdir()) == []
