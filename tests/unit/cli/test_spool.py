"""`kplpy spool`: what it prints, and that it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from kplpy.cli.app import cli
from kplpy.cli.lines import read_failed
from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.spool.part import Part


def record(data: bytes) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", "17", NO_HASH_KEY
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["spool", *map(str, arguments)])


def leave(directory: Path, *data: bytes) -> Path:
    """Leave the data in a part; of the first row's two records, one is answered."""
    part = Part.create(directory)
    first, _ = part.write([("a", 1e9, [record(b"answered"), record(data[0])]), ("b", 1e9, map_records(data[1:]))])
    part.answered({first: b"\1\0"})
    part.close()
    return part.path


def map_records(data: tuple[bytes, ...]) -> list[PendingRecord]:
    return [record(each) for each in data]


def test_ls_shows_parts_and_streams(tmp_path: Path) -> None:
    path = leave(tmp_path, b"1", b"2", b"\xff")
    used = Part.create(tmp_path)
    result = run("ls", tmp_path)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert any(line.startswith(f"{path.name}  left  3 records") for line in lines)
    assert any(line.startswith("  b  2 records") for line in lines)
    assert any(line.startswith(f"{used.path.name}  in use by process") for line in lines)
    parts = {each["path"]: each for each in map(json.loads, run("ls", tmp_path, "--json").output.splitlines())}
    assert parts[str(path)]["process"] is None
    assert parts[str(path)]["streams"]["a"]["records"] == 1
    assert Part.adopt(used.path) is None  # ls has not released the lock
    used.close()


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    path = leave(tmp_path, b"1", b"payload" * 9)
    assert run("verify", tmp_path).output == "1 part: sound\n"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"payloadpay", b"payloadpaX"))
    result = run("verify", tmp_path)
    assert result.exit_code == 1
    assert "its checksum does not match" in result.output
    path.write_bytes(b"else" * 2000)
    assert "file is not a database" in run("verify", tmp_path).output
    assert run("ls", tmp_path).exit_code == 1
    assert path.read_bytes() == b"else" * 2000


def test_export_is_what_put_reads(tmp_path: Path) -> None:
    path = leave(tmp_path / "spool", b"1", b"2", b"\xff")
    before = path.read_bytes()
    result = run("export", tmp_path / "spool")
    assert result.exit_code == 0
    (tmp_path / "lines").write_bytes(result.stdout_bytes)
    found = [
        (each.stream, each.data, each.partition_key, each.explicit_hash_key, each.problem)
        for each in read_failed(str(tmp_path / "lines"))
    ]
    assert found == [("a", b"1", "key", "17", None), ("b", b"2", "key", "17", None), ("b", b"\xff", "key", "17", None)]
    assert path.read_bytes() == before


def test_export_leaves_out_parts_in_use(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    part.write([("a", 1.0, [record(b"1")])])
    assert "data" not in run("export", tmp_path).stdout  # older versions of click mix stderr in
    assert json.loads(run("export", tmp_path, "--all").stdout)["data"] == "1"
    part.close()
