"""Records with and without keys end as docs/kpl.md says, and the KPL's metrics have their names in kplpy.

kpl_keyless.py recorded the outcomes. Here kplpy plays some of the cases again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.environments import kpl_version
from kplpy.metrics.catalogue import DEPTHS, METRICS
from tests.parity.kpl_keyless import CASES, RECORDS, Case, kplpy, play, recorded, streams

ANSWERS = recorded()


def test_the_answers_are_of_the_kpl_that_the_benchmarks_run() -> None:
    assert ANSWERS["version"] == kpl_version()
    assert ANSWERS["records"] == RECORDS
    assert list(ANSWERS["cases"]) == [case.name for case in CASES]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if not case.keys and case.setting != "USER_PARTITION_KEY"],
    ids=lambda case: case.name,
)
def test_kplpy_delivers_records_without_keys_on_every_stream(case: Case, tmp_path: Path) -> None:
    with streams(denied=case.denied) as (kinesis, requests), kplpy(kinesis, case, tmp_path) as put:
        found = play(case, kinesis, requests, put)
    assert found["outcomes"] == [{"delivered": RECORDS}] * 2 == ANSWERS["cases"][case.name]["kplpy"]["outcomes"]
    assert found["readable"] == found["copies"] == 2 * RECORDS
    assert found["described"] == 1


def test_every_metric_of_the_kpl_has_its_name_and_finest_dimension_in_kplpy() -> None:
    finest: dict[str, int] = {}
    for each in ANSWERS["kpl_metrics"]:
        name, _, dimensions = each.partition(" ")
        depth = 2 if "ShardId" in dimensions else 1 if "StreamName" in dimensions else 0
        finest[name] = max(depth, finest.get(name, 0))
    assert set(finest) == {each.name for each in METRICS.values() if each.kpl} | {"RetriesPerRecord", "BufferingTime"}
    assert [name for name, depth in finest.items() if depth > DEPTHS[METRICS[name].finest]] == []
