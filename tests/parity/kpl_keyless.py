"""Records what the KPL and kplpy do with and without partition keys, on keyed and on AUTO streams.

`python -m tests.parity.kpl_keyless` runs KplKeyless.java, with the KPL that benchmarks/peers/kpl/pom.xml names, and
kplpy against a local Kinesis, and writes kpl_keyless.json. It needs Java 17 and Maven, and takes about two minutes.
scripts/kpl_page.py puts the outcomes into docs/kpl.md.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.environments import kpl_version
from kplpy import Config, KplpyError, Producer, deaggregate
from kplpy.local import Fault, LocalKinesis
from tests.parity.kpl_options import copied_kpl

ANSWERS = Path(__file__).with_name("kpl_keyless.json")
PROGRAM = Path(__file__).with_name("KplKeyless.java")
RECORDS = 300
TTL_MS = 3000
"""RecordTtl of both, so that a record that is never delivered fails soon."""

Put = Callable[[str, bool], dict[str, int]]
"""Puts RECORDS records to a stream, with keys or without. Returns how many had each outcome."""
_metrics: set[str] = set()  # names of the KPL's metrics that had values, with those of their dimensions


@dataclass(frozen=True)
class Case:
    """Rounds of one producer.

    stream: "keyed" or "auto". setting: RecordDistributionStrategyDefault. denied: DescribeStreamSummary is denied.
    """

    stream: str
    setting: str
    denied: bool
    keys: bool

    @property
    def name(self) -> str:
        return " ".join([self.stream, self.setting, "denied" if self.denied else "", "keys" if self.keys else "none"])


CASES = [
    Case(stream, setting, denied, keys)
    for denied, settings in ((False, ("UNSET", "AUTO", "USER_PARTITION_KEY")), (True, ("UNSET", "AUTO")))
    for setting in settings
    for stream in ("keyed", "auto")
    for keys in (True, False)
]


def recorded() -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return answers


def settings_of(case: Case) -> str:
    return f"RecordDistributionStrategyDefault = {case.setting}\nRecordTtl = {TTL_MS}\n"


@contextmanager
def streams(*, denied: bool) -> Iterator[tuple[LocalKinesis, Counter[str]]]:
    """Run a local Kinesis with the streams "keyed" and "auto", of four shards each; count its requests by operation."""
    requests: Counter[str] = Counter()
    with LocalKinesis(stream=None, limits=False, https=True) as kinesis:
        for name, strategy in (("keyed", "USER_PARTITION_KEY"), ("auto", "AUTO")):
            mode = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RecordDistributionStrategy": strategy}
            kinesis.handle("CreateStream", {"StreamName": name, **mode})

        def note(operation: str, params: Mapping[str, Any], now: float) -> Fault | None:
            requests[operation] += 1
            if denied and operation == "DescribeStreamSummary":
                return Fault(code="AccessDeniedException", message="not authorized")
            return None

        kinesis.faults.plan = note
        yield kinesis, requests


@contextmanager
def kpl(kinesis: LocalKinesis, case: Case, libraries: Path) -> Iterator[Put]:
    properties = libraries / "kpl.properties"
    properties.write_text(settings_of(case), encoding="utf-8")
    port = kinesis.endpoint_url.rpartition(":")[2]
    command = ["java", "-cp", f"{libraries}/*", str(PROGRAM), port, str(properties), str(libraries)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        given, answers = process.stdin, process.stdout

        def put(stream: str, keys: bool) -> dict[str, int]:
            print(stream, RECORDS, "keys" if keys else "none", file=given, flush=True)
            outcomes: dict[str, int] = json.loads(answers.readline())
            return outcomes

        yield put
        given.close()
        _metrics.update(json.loads(answers.readline()))


@contextmanager
def kplpy(kinesis: LocalKinesis, case: Case, folder: Path) -> Iterator[Put]:
    properties = folder / "kplpy.properties"
    properties.write_text(settings_of(case), encoding="utf-8")
    config = Config.from_properties(
        properties,
        endpoint_url=kinesis.endpoint_url,
        verify=kinesis.ca_bundle,
        session=kinesis.session(),
    )
    with Producer(config) as producer:
        numbers = count()

        def put(stream: str, keys: bool) -> dict[str, int]:
            outcomes: Counter[str] = Counter()
            futures = []
            for n in islice(numbers, RECORDS):
                try:
                    futures.append(producer.put_record(stream, b"record %d" % n, f"key {n % 50}" if keys else None))
                except KplpyError as error:
                    outcomes[f"refused at the call: {error}"] += 1
            for future in futures:
                failure = future.exception(60)
                outcomes["delivered" if failure is None else type(failure).__name__] += 1
            return dict(outcomes)

        yield put


def play(case: Case, kinesis: LocalKinesis, requests: Counter[str], put: Put) -> dict[str, Any]:
    """Put two rounds. Return the outcomes of both, and what Kinesis has of them.

    readable: records that a KCL consumer, which drops aggregates of foreign hash keys, gets. copies: with duplicates.
    described: requests of DescribeStreamSummary.
    """
    rounds, kinesis_records = [], []
    for _ in range(2):
        before = len(kinesis.ledger(case.stream))
        rounds.append(put(case.stream, case.keys))
        kinesis_records.append(len(kinesis.ledger(case.stream)) - before)
    read = [
        record.data
        for each in kinesis.ledger(case.stream)
        for record in deaggregate(each.data, starting_hash_key=each.shard_range[0], ending_hash_key=each.shard_range[1])
    ]
    return {
        "outcomes": rounds,
        "kinesis_records": kinesis_records,
        "readable": len(set(read)),
        "copies": len(read),
        "described": requests["DescribeStreamSummary"],
    }


def main() -> None:
    answers: dict[str, Any] = {"version": kpl_version(), "records": RECORDS, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        libraries = copied_kpl(Path(folder))
        for case in CASES:
            found = answers["cases"][case.name] = {}
            for producer in (kpl, kplpy):
                with streams(denied=case.denied) as (kinesis, requests), producer(kinesis, case, libraries) as put:
                    found[producer.__name__] = play(case, kinesis, requests, put)
    answers["kpl_metrics"] = sorted(_metrics)
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
