"""The demo's input, and its comparison of the records read back."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from kplpy import UserRecord
from kplpy.cli.demo import source
from kplpy.cli.demo.comparison import Comparison, Delays
from kplpy.cli.demo.source import Source, given_files, standard_library
from kplpy.reading import Batch, ReadRecord

A = Source("a", b"one\ntwo\n\nfour")
B = Source("a:2:b", b"x\n")


def records() -> list[UserRecord]:
    return [UserRecord(data, key) for source in (A, B) for data, key in source.records(1, len(source))]


def compare(read: list[UserRecord]) -> tuple[Comparison, str | None]:
    comparison = Comparison([A, B])
    return comparison, comparison.add(
        Batch("shard", [ReadRecord(each.data, each.partition_key) for each in read], len(read), 100)
    ) or comparison.missing()


def test_lines_and_their_places() -> None:
    assert A.records(1, 4) == [(b"a:1:one", "a"), (b"a:2:two", "a"), (b"a:3:", "a"), (b"a:4:four", "a")]
    assert [len(Source("f", content)) for content in (b"", b"x", b"x\n", b"\n\n", b"a\r\nb")] == [0, 1, 1, 2, 2]
    assert Source("f", b"a\r\n").record(1) == b"f:1:a\r"


def test_names_that_are_no_utf8_and_long_ones() -> None:
    assert Source("caf\udce9", b"").name == "caf\\xe9"
    assert len(Source("d/" * 300, b"").key) == 256


def test_identical() -> None:
    comparison, difference = compare(records())
    assert difference is None
    assert (comparison.records, comparison.out_of_order) == (5, 0)
    assert comparison.bytes_by_shard == {"shard": 100}


def test_another_order_is_only_counted() -> None:
    comparison, difference = compare([*records()[1:4], records()[0], records()[4]])
    assert difference is None
    assert comparison.out_of_order == 1


def test_differences() -> None:
    right = records()
    for read, message in (
        (right[:2] + right[3:], "1 of the lines were not read back, the first: a, line 3: b'a:3:'"),
        ([], "5 of the lines were not read back, the first: a, line 1"),
        ([*right, right[1]], "a, line 2: read twice: b'a:2:two'"),
        ([UserRecord(b"a:1:onE", "a"), *right[1:]], "a, line 1: put b'a:1:one', read b'a:1:onE'"),
        ([UserRecord(right[0].data, "b"), *right[1:]], "a, line 1: put with key 'a', read with 'b'"),
        ([UserRecord(b"a:5:", "a")], "a record that was never put: b'a:5:'"),
        ([UserRecord(b"a:0:", "a")], "a record that was never put"),
        ([UserRecord(b"a:-1:", "a")], "a record that was never put"),
        ([UserRecord(b"", "a")], "a record that was never put: b''"),
        ([UserRecord(b"z" * 1000, "a")], "..."),
    ):
        difference = compare(read)[1]
        assert difference is not None
        assert message in difference


def test_the_standard_library_is_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, what = standard_library()
    assert sum(map(len, sources)) >= source.ENOUGH_LINES
    assert "standard library" in what
    assert len({each.name for each in sources}) == len(sources)
    assert not any("site-packages" in each.name for each in sources) or "installed packages" in what


def test_installed_packages_complete_a_short_standard_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (
        ("lib/a.py", "1\n2\n"),
        ("lib/notes.txt", "no Python\n"),
        ("lib/site-packages/p/x.py", "3\n4\n"),
        ("lib/site-packages/p/y.py", "5\n"),
        ("lib/site-packages/p/z.py", "not needed\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    places = {"stdlib": tmp_path / "lib", "purelib": tmp_path / "lib" / "site-packages"}
    monkeypatch.setattr(source, "get_path", places.__getitem__)
    monkeypatch.setattr(source, "ENOUGH_LINES", 5)
    sources, what = standard_library()
    assert [each.name for each in sources] == ["a.py", "site-packages/p/x.py", "site-packages/p/y.py"]
    assert what.endswith("and installed packages")


def test_given_files_count_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x\n")
    (tmp_path / "g").write_text("y")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    sources = given_files([str(tmp_path / each) for each in ("f", "g", "link", "f")])
    assert [Path(each.name).name for each in sources] == ["f", "g"]


def test_the_largest_record_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = (1 << 20) - len("f:1:") - len("f")
    Path("f").write_bytes(b"x" * space)
    (source,) = given_files(["f"])
    assert len(source.record(1)) == (1 << 20) - 1
    Path("f").write_bytes(b"x" * (space + 1))
    with pytest.raises(click.ClickException, match="f, line 1: 1048576 bytes"):
        given_files(["f"])


def test_percentiles_of_nothing() -> None:
    assert Delays().percentile(99) == 0.0
