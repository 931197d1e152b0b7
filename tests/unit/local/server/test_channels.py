"""Channels write files, also after a restart, and say when they cannot."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import LocalKinesis
from kplpy.local.server.options import Options
from tests.unit.local.model.test_channels import params_of

ON_DEMAND: Any = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}


def until(condition: Callable[[], Any]) -> Any:
    """Wait until `condition` is true, and return it."""
    ends_at = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    return found


def files(directory: Path) -> list[Path]:
    return sorted(each for each in directory.rglob("*") if each.is_file() and not each.name.startswith("."))


def test_objects_are_files_and_each_record_is_delivered_once(tmp_path: Path) -> None:
    buckets = tmp_path / "s3"
    options: dict[str, Any] = {"data_dir": tmp_path / "data", "channels_dir": buckets, "channel_seconds": 0}
    with LocalKinesis(stream=None, **options) as kinesis:
        kinesis.handle("CreateStream", {"StreamName": "s", **ON_DEMAND})
        kinesis.handle("CreateChannel", params_of(storage={"OutputKeyTemplate": "!{stream-name}/data"}))
        kinesis.client().put_record(StreamName="s", Data=b"1", PartitionKey="k")
        (first,) = until(lambda: files(buckets))
    assert first.relative_to(buckets).parent == Path("lake/s")
    assert (first.name.rpartition("-")[0], first.read_bytes()) == ("data-000000000001", b"1\n")
    first.unlink()
    with LocalKinesis(stream=None, **options) as kinesis:
        kinesis.client().put_record(StreamName="s", Data=b"2", PartitionKey="k")
        (second,) = until(lambda: files(buckets))
        assert second.read_bytes() == b"2\n"


def test_a_channel_that_cannot_write_has_failed_until_it_can(tmp_path: Path) -> None:
    with LocalKinesis(stream=None, channels_dir=tmp_path, channel_seconds=0) as kinesis:
        kinesis.handle("CreateStream", {"StreamName": "s", **ON_DEMAND})
        arn = kinesis.handle("CreateChannel", params_of())["ChannelDescription"]["ChannelARN"]

        def status() -> str:
            found: str = kinesis.handle("DescribeChannel", {"ChannelARN": arn})["ChannelDescription"]["ChannelStatus"]
            return found

        (tmp_path / "lake").write_text("a file in the bucket's place")
        kinesis.client().put_record(StreamName="s", Data=b"1", PartitionKey="k")
        until(lambda: status() == "FAILED")
        (tmp_path / "lake").unlink()
        until(lambda: status() == "ACTIVE")
        assert [each.read_bytes() for each in files(tmp_path)] == [b"1\n"]


def test_the_options_of_channels_reach_another_process(tmp_path: Path) -> None:
    options = Options(channels_dir=tmp_path, channel_seconds=2.5)
    read = Options.from_json(options.to_json())
    assert (read.channels_dir, read.channel_seconds) == (str(tmp_path), 2.5)


@pytest.mark.parametrize("seconds", [-1, True, "1"])
def test_bad_seconds_are_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="channel_seconds must be a number"):
        LocalKinesis(channel_seconds=seconds)
