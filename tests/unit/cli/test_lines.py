"""The input of `kplpy put`: lines, keys, failed records of earlier runs, settings."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path

import click
import pytest

from kplpy.cli import lines
from kplpy.cli.connection import Connection
from kplpy.cli.failed import Failures
from kplpy.cli.keys import json_key, regex_key
from kplpy.cli.progress import duration, in_rows
from kplpy.cli.settings import build_config, parse
from kplpy.errors import ConfigError, RecordExpiredError, RecordFailedError
from kplpy.records import Attempt, UserRecord

NOWHERE = Connection(None, None, None, None, False)


@pytest.mark.parametrize(
    ("path", "line", "key"),
    [
        ("id", b'{"id": "x"}', "x"),
        ("id", b'{"id": 7}', "7"),
        ("id", b'{"id": 1.10}', "1.10"),
        ("id", b'{"id": 123456789012345678901234567890}', "123456789012345678901234567890"),
        ("id", b'{"id": ' + b"1" * 5000 + b"}", "1" * 5000),
        ("id", b'{"id": true}', "true"),
        ("id", b'{"id": null}', None),
        ("id", b'{"id": ""}', None),
        ("id", b'{"id": {"a": 1}}', None),
        ("id", b'{"id": [1]}', None),
        ("id", b'["id"]', None),
        ("id", b"{}", None),
        ("id", b"", None),
        ("id", b"id", None),
        ("id", b'{"id": "\xff"}', None),
        ("id", b"[" * 100_000, None),
        ("a.b.c", b'{"a": {"b": {"c": "\\u00e9"}}}', "é"),
        ("a.1.b", b'{"a": [0, {"b": "x"}]}', "x"),
        ("a.2.b", b'{"a": [0, {"b": "x"}]}', None),
        ("a.b", b'{"a": "b"}', None),
    ],
)
def test_json_keys(path: str, line: bytes, key: str | None) -> None:
    assert json_key(path)(line) == key


@pytest.mark.parametrize(
    ("pattern", "line", "key"),
    [
        (r"user=(\w+)", b"a user=anna b", "anna"),
        (r"\d+", b"no 17 and 18", "17"),
        (r"(\d+)|x", b"x", None),
        (r"()", b"x", None),
        (r"(.)$", "ü".encode(), "ü"),
        (r"^(\S+)", b"\xff z", "�"),
        (r"q", b"x", None),
    ],
)
def test_regex_keys(pattern: str, line: bytes, key: str | None) -> None:
    assert regex_key(re.compile(pattern))(line) == key


def read(path: Path, content: bytes, keep_newline: bool = False) -> list[bytes]:
    path.write_bytes(content)
    return [each.data for each in lines.read_lines([str(path)], None, "fail", None, keep_newline)]


@pytest.mark.parametrize("keep_newline", [False, True])
@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\n", b"a\n\nb", b"\r\n\r", b"\x00\n\xff\xfe\n"])
def test_lines_are_what_newlines_separate(tmp_path: Path, content: bytes, keep_newline: bool) -> None:
    found = read(tmp_path / "f", content, keep_newline)
    if keep_newline:
        assert b"".join(found) == content
    else:
        assert found == (content.removesuffix(b"\n").split(b"\n") if content else [])


@pytest.mark.parametrize("size", [9, 10, 11, 25])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nx"])
def test_long_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, end: bytes) -> None:
    """Only the beginning of a line past the bound is kept, and the next line is read as a line of its own."""
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    (tmp_path / "f").write_bytes(b"y" * size + end)
    first, *rest = lines.read_lines([str(tmp_path / "f")], None, "fail", None, False)
    if size <= 10:
        assert (first.data, first.truncated, first.problem) == (b"y" * size, 0, None)
    else:
        assert (first.truncated, first.problem is not None) == (size, True)
    assert [each.data for each in rest] == ([b"x"] if end == b"\nx" else [])


def test_the_first_lines_of_all_files_together_are_skipped(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in "abc"]
    for name, content in zip(names, (b"1\n2\n", b"", b"3\n\n5"), strict=True):
        Path(name).write_bytes(content)
    wanted = [b"1", b"2", b"3", b"", b"5"]
    for skip in range(6):
        position = lines.Position(skip=skip, size_bytes=lines.size_of(names))
        found = [each.data for each in lines.read_lines(names, None, "fail", None, False, position)]
        assert found == wanted[skip:]
        assert (position.lines, position.read_bytes, position.size_bytes) == (5, 8, 8)
        assert position.skipped_bytes == len(b"1\n2\n3\n\n5"[: [0, 2, 4, 6, 7, 8][skip]])
    with pytest.raises(lines.SkippedTooMuchError, match=r"--skip 6: the input has only 5 lines"):
        list(lines.read_lines(names, None, "fail", None, False, lines.Position(skip=6)))


@pytest.mark.parametrize("size", [9, 10, 11, 25])
def test_a_long_line_is_skipped_as_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    (tmp_path / "f").write_bytes(b"y" * size + b"\nx\n")
    position = lines.Position(skip=1)
    found = list(lines.read_lines([str(tmp_path / "f")], None, "fail", None, False, position))
    assert [(each.data, each.line) for each in found] == [(b"x", 2)]
    assert (position.skipped_bytes, position.read_bytes) == (size + 1, size + 3)


def test_failed_records_of_an_earlier_run_are_skipped_by_lines(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"data": "1"}\n\n{"data": "2"}\n')
    for skip, wanted in ((0, [b"1", b"2"]), (1, [b"2"]), (2, [b"2"]), (3, [])):
        assert [each.data for each in lines.read_failed(str(tmp_path / "f"), lines.Position(skip=skip))] == wanted
    with pytest.raises(lines.SkippedTooMuchError, match="only 3 lines"):
        list(lines.read_failed(str(tmp_path / "f"), lines.Position(skip=4)))


def test_the_size_of_a_pipe_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert lines.size_of([str(tmp_path / "f")] * 2) == 10
    assert lines.size_of([str(tmp_path / "f"), "/dev/null"]) is None
    assert lines.size_of([str(tmp_path / "none")]) is None


@pytest.mark.parametrize(
    ("width", "rows"),
    [
        (200, ["12 %  ETA 0:07  1,234 records  5 throttled"]),
        (31, ["12 %  ETA 0:07  1,234 records", "5 throttled"]),
        (30, ["12 %  ETA 0:07  1,234 records", "5 throttled"]),
        (28, ["12 %  ETA 0:07", "1,234 records  5 throttled"]),
        (5, ["12 %", "ETA 0:07", "1,234 records", "5 throttled"]),
    ],
)
def test_a_line_takes_as_many_rows_as_it_needs(width: int, rows: list[str]) -> None:
    assert in_rows("12 %  ETA 0:07  1,234 records  5 throttled", width).split("\n") == rows


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (6.6, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_failed_records_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "failed"
    attempt = Attempt(0.0, 0.1, False, "InternalFailure", "sorry", 0.1)
    with Failures(str(path)) as failures:
        for data, key, hash_key in ((b"text \n\x00", "k", None), (b"\xff", "é", "7"), (b"", "k", None)):
            record = UserRecord(data, key, hash_key)
            failures.record_failed(RecordExpiredError("too late", "orders", record, (attempt,), True))
        failures.record_refused("orders", lines.Given(b"large", "file", 3, "k"), "is too large")
    assert failures.count == 4
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert written[0]["error"] == "RecordExpiredError: too late"
    assert written[0]["attempts"] == 1
    assert written[0]["possible_duplicate"] is True
    assert written[3]["source"] == "file:3"
    back = list(lines.read_failed(str(path)))
    assert [(each.data, each.partition_key, each.explicit_hash_key, each.stream) for each in back] == [
        (b"text \n\x00", "k", None, "orders"),
        (b"\xff", "é", "7", "orders"),
        (b"", "k", None, "orders"),
        (b"large", "k", None, "orders"),
    ]
    assert not any(each.problem for each in back)


def test_the_report_counts_by_reason(tmp_path: Path) -> None:
    with Failures(None) as failures:
        for number in range(3):
            failures.record_failed(RecordFailedError(f"closed {number}", "s"))
        failures.record_refused("s", lines.Given(b"", "f", 9), "no key")
    report = failures.report()
    assert report[:2] == ["  3 × closed 0", "  1 × f, line 9: no key"]
    assert "--failed FILE would have kept them" in report[2]


def test_no_failure_leaves_no_file(tmp_path: Path) -> None:
    with Failures(str(tmp_path / "failed")) as failures:
        pass
    assert not failures.report()
    assert not list(tmp_path.iterdir())
    # A file that existed before is kept.
    (tmp_path / "before").write_bytes(b"")
    (tmp_path / "full").write_bytes(b"{}\n")
    with Failures(str(tmp_path / "full")):
        pass
    assert (tmp_path / "full").read_bytes() == b"{}\n"


def test_a_failed_file_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(click.ClickException, match=r"cannot write --failed .*: No such file"),
        Failures(str(tmp_path / "no" / "where")),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_and_stops_nothing() -> None:
    with Failures("/dev/full") as failures:
        for _ in range(3):
            failures.record_failed(RecordFailedError("sorry", "s", UserRecord(b"x", "k")))
    assert failures.count == 3
    assert failures.report()[-1] == (
        "  /dev/full is not complete: 3 of 3 failed records could not be written: No space left on device"
    )


def test_a_failed_file_continues_when_the_disk_has_space_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Failures(str(tmp_path / "failed")) as failures:
        write = os.write

        def full(file: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        failures.record_failed(RecordFailedError("sorry", "s", UserRecord(b"1", "k")))
        monkeypatch.setattr(os, "write", write)
        failures.record_failed(RecordFailedError("sorry", "s", UserRecord(b"2", "k")))
    assert [each.data for each in lines.read_failed(str(tmp_path / "failed"))] == [b"2"]
    assert "is not complete: 1 of 2 failed records could not be written: No space left" in failures.report()[-1]


def test_a_failed_file_is_private_and_no_symbolic_link(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Failures(str(tmp_path / "failed")) as failures:
            failures.record_failed(RecordFailedError("sorry", "s", UserRecord(b"1", "k")))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "failed").stat().st_mode) == 0o600
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    report = r"cannot write --failed .*link': it is a symbolic link, which is not followed \(--follow-symlinks\)"
    with pytest.raises(click.ClickException, match=report), Failures(str(link)):
        pass
    assert not (tmp_path / "elsewhere").exists()
    with Failures(str(link), follow_symlinks=True):
        pass
    assert link.is_symlink()  # without failures the command still does not remove a link that it did not make
    with Failures(str(link), follow_symlinks=True) as failures:
        failures.record_failed(RecordFailedError("sorry", "s", UserRecord(b"1", "k")))
    assert [each.data for each in lines.read_failed(str(tmp_path / "elsewhere"))] == [b"1"]


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("record_ttl_ms=5000", "record_ttl_ms", 5000),
        ("record_ttl_ms=None", "record_ttl_ms", None),
        ("aggregation_enabled=FALSE", "aggregation_enabled", False),
        ("verify=false", "verify", False),
        ("verify=/a/bundle", "verify", "/a/bundle"),
        ("metrics_level=none", "metrics_level", "none"),
        ("proxy_host=none", "proxy_host", None),
        ("metrics_namespace=a=b", "metrics_namespace", "a=b"),
        ("rate_limit=1e3", "rate_limit", "1e3"),
    ],
)
def test_settings(setting: str, name: str, value: object) -> None:
    assert parse(setting) == (name, value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nonsense", "must be field=value, got 'nonsense'"),
        ("record_tll_ms=1", "there is no Config field 'record_tll_ms'; did you mean record_ttl_ms"),
        ("=1", "there is no Config field ''; the fields are: aggregate_partition_key, "),
        ("session=x", "session cannot be set with --set"),
        ("max_block_ms=5", "max_block_ms cannot be set with --set"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=re.escape(message)):
        parse(setting)


def test_the_stronger_setting_wins(tmp_path: Path) -> None:
    file = tmp_path / "kpl.properties"
    file.write_text("Region = eu-west-1\nRateLimit = 50\nAggregationMaxSize = 1000\n")
    default = {"record_ttl_ms": 300_000, "rate_limit": 1}
    config = build_config(NOWHERE, str(file), ["aggregation_max_size=2000", "region_name=eu-west-2"], default)
    assert (config.record_ttl_ms, config.rate_limit) == (300_000, 50)
    assert (config.aggregation_max_size, config.region_name) == (2000, "eu-west-2")
    there = Connection("eu-west-3", None, None, None, True)
    config = build_config(there, str(file), ["region_name=eu-west-2"], default)
    assert (config.region_name, config.verify) == ("eu-west-3", False)


def test_bad_values_name_their_place(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("\nRateLimit = 0\n")
    with pytest.raises(ConfigError, match=r"f, line 2.*rate_limit must be at least 1.*got 0"):
        build_config(NOWHERE, str(tmp_path / "f"), [], {})
    with pytest.raises(ConfigError, match=r"rate_limit must be a whole number.*got 'many'"):
        build_config(NOWHERE, None, ["rate_limit=many"], {})


@pytest.mark.parametrize("url", ["http://127.0.0.1:4567", "https://localhost:1", "http://[::1]:4567"])
def test_a_local_endpoint_needs_no_credentials(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    credentials = Connection(None, url, None, None, False).fields()["session"].get_credentials()
    assert credentials.access_key == "local"
    # Existing credentials are used.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    assert Connection(None, url, None, None, False).fields()["session"].get_credentials().access_key == "mine"


def test_any_other_endpoint_takes_the_usual_ones() -> None:
    assert Connection(None, "https://kinesis.example.com", None, None, False).fields() == {
        "endpoint_url": "https://kinesis.example.com"
    }
