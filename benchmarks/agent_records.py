"""CPU time a record of the agent's processors and partition keys: `python -m benchmarks.agent_records`."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

from kplpy.agent.processing import make_partition_keys, make_process
from kplpy.agent.settings import FlowSettings

APACHE = (
    b'192.0.2.7 - ann [03/Feb/2026:10:20:30 +0000] "GET /item/7?x=1 HTTP/1.1" 200 512'
    b' "https://shop.example/a" "tester/1.0 (x; y)"\n'
)
ERROR = b"[Tue Feb 03 10:20:30 2026] [core:error] [pid 77:tid 12345] [client 192.0.2.7:5001] no such file: /srv/x.ico\n"
SYSLOG = b"Feb  3 10:20:30 web1 job[77]: did 12 things in 'a-b|3' (0.01 s) and then some more words to fill it\n"
RFC3339 = b"2026-02-03T10:20:30.003Z web1.example job[12]: did 12 things in 'a-b|3' (0.01 s) and some more words\n"
COLUMNS = b"2026-02-03,10:20:30,web1.example,GET,/item/7,200,512,0.013,Mozilla/5.0 (X11; Linux x86_64) words here ok\n"
TRACE = b"A start \n  at x.y.z(File.java:12)\n  at a.b.c(Other.java:33) and so on until it has a length of a hundred\n"
JSON = b'{"user":"u17","level":"info","message":"did 12 things in a while and then some more words to fill it"}\n'

CSV = {"optionName": "CSVTOJSON", "customFieldNames": [f"field{n}" for n in range(9)]}
LOG = {"optionName": "LOGTOJSON"}
CUSTOM = {"matchPattern": r"^(\S+)\s+(\S+) (.*)$", "customFieldNames": ["at", "host", "rest"]}
METADATA = {"optionName": "ADDMETADATA", "metadata": {"team": "shop"}}

PROCESSORS: list[tuple[str, dict[str, Any], bytes]] = [
    ("SINGLELINE, 3 lines", {"optionName": "SINGLELINE"}, TRACE),
    ("CSVTOJSON, 9 columns", CSV, COLUMNS),
    ("the same, outside ASCII", CSV, COLUMNS.replace(b"GET", "é".encode())),
    ("the same, delimiter ,+", {**CSV, "delimiter": ",+"}, COLUMNS),
    ("the same, quoting, a quoted column", {**CSV, "quoting": True}, COLUMNS.replace(b"GET", b'"GET"')),
    ("LOGTOJSON, COMMONAPACHELOG", {**LOG, "logFormat": "COMMONAPACHELOG"}, APACHE),
    ("LOGTOJSON, COMBINEDAPACHELOG", {**LOG, "logFormat": "COMBINEDAPACHELOG"}, APACHE),
    ("the same, outside ASCII", {**LOG, "logFormat": "COMBINEDAPACHELOG"}, APACHE.replace(b"item", "é".encode())),
    ("the same, no match", {**LOG, "logFormat": "COMBINEDAPACHELOG"}, SYSLOG),
    ("LOGTOJSON, APACHEERRORLOG", {**LOG, "logFormat": "APACHEERRORLOG"}, ERROR),
    ("LOGTOJSON, SYSLOG", {**LOG, "logFormat": "SYSLOG"}, SYSLOG),
    ("LOGTOJSON, RFC3339SYSLOG", {**LOG, "logFormat": "RFC3339SYSLOG"}, RFC3339),
    ("LOGTOJSON, a matchPattern of 3 groups", {**LOG, "logFormat": "SYSLOG", **CUSTOM}, RFC3339),
    ("ADDMETADATA", METADATA, RFC3339),
    ("ADDMETADATA, timestamp", {**METADATA, "timestamp": "true"}, RFC3339),
    ("ADDBRACKETS", {"optionName": "ADDBRACKETS"}, RFC3339),
]
KEYS: list[tuple[str, dict[str, Any], bytes]] = [
    ("RANDOM", {}, RFC3339),
    ("DETERMINISTIC", {"partition_key_option": "DETERMINISTIC"}, RFC3339),
    ("partitionKeyField", {"partition_key_field": "user"}, JSON),
    ("partitionKeyPattern", {"partition_key_pattern": r"^\S+ (\S+)"}, RFC3339),
]


def settings_of(**more: Any) -> FlowSettings:
    return FlowSettings("kinesis:logs:/f", "/f", "kinesis", "logs", **more)


def show(name: str, work: Callable[[], object]) -> None:
    """Print the least CPU time of 60 runs of 1,000 records each."""
    runs = timeit.repeat(work, number=1, repeat=60, timer=time.process_time)
    print(f"{name:40} {min(runs) * 1000:6.2f} µs")


def main() -> None:
    for name, option, record in PROCESSORS:
        process = make_process(settings_of(processing=(option,)))
        assert process is not None
        show(name, partial(lambda process, records: [process(each) for each in records], process, [record] * 1000))
    for name, keys, record in KEYS:
        show(name, partial(make_partition_keys(settings_of(**keys)), [record] * 1000, [record] * 1000))


if __name__ == "__main__":
    main()
