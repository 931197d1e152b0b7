"""The report of --check says what a configuration means, and its exit code whether the agent would start."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kplpy.agent.configuration import from_mapping
from kplpy.agent.configuration.check import Explanation, check_file, explain
from kplpy.agent.configuration.survey import FoundFile
from kplpy.agent.processing import translate
from kplpy.agent.settings import AgentSettings


def finding(**files: Sequence[FoundFile]) -> Any:
    """Return a survey that finds these files: stream → files."""

    def look(settings: AgentSettings, now: float) -> Mapping[str, Sequence[FoundFile]]:
        return {flow.id: files.get(flow.stream, ()) for flow in settings.flows}

    return look


def explained(flows: Any, strict: bool = False, files: Sequence[FoundFile] = (), **keys: Any) -> Explanation:
    with tempfile.TemporaryDirectory() as home:
        config = {"flows": flows, "checkpointFile": f"{home}/positions", **keys}
        return explain(from_mapping(config), 0, strict=strict, look=finding(orders=files))


FILES = [
    FoundFile("/var/log/a.log", 1500, 1000, True),
    FoundFile("/var/log/b.log", 20, 0, False),
    FoundFile("/var/log/c\n.log", 20, 20, False),
    FoundFile("/var/log/d.log", 20, 5, False),
    *(FoundFile(f"/var/log/{number}.log", 10, 4, False) for number in range(2000)),
]


def test_the_report_is_for_a_person_on_call(tmp_path: Path) -> None:
    start, match = "^\\p{Digit}", "(\\d+) (.*)"
    flows = [
        {
            "filePattern": "/var/log/*.log",
            "kinesisStream": "orders",
            "maxBufferAgeMillis": "1000",
            "multiLineStartPattern": start,
            "truncatedRecordTerminator": "…\n",
            "aggregation": True,
            "dataProcessingOptions": [
                {"optionName": "SINGLELINE"},
                {
                    "optionName": "LOGTOJSON",
                    "logFormat": "SYSLOG",
                    "matchPattern": match,
                    "customFieldNames": ["number", "text"],
                },
            ],
        },
        {"filePattern": f"{tmp_path}/logs/{{a,b}}*", "deliveryStream": "logs"},
    ]
    explanation = explained(
        flows,
        files=FILES,
        checkpointFile=f"{tmp_path}/positions",
        awsAccessKeyId="id",
        awsSecretAccessKey="secret",
    )
    assert explanation.text == (
        "flow 1: /var/log/*.log -> Kinesis stream orders\n"
        "  files now: 2,004, 21,560 bytes\n"
        "    /var/log/a.log: 1,500 bytes, goes on at byte 1,000 (checkpoint)\n"
        "    /var/log/b.log: 20 bytes, read from its beginning\n"
        "    /var/log/c\\n.log: 20 bytes, read from its end (only what is written from now on)\n"
        "    /var/log/d.log: 20 bytes, read from byte 5\n"
        "    /var/log/0.log: 10 bytes, read from byte 4\n"
        "    and 1,999 more, of which 11,994 bytes would be read\n"
        "  processor: SINGLELINE\n"
        '  processor: LOGTOJSON, logFormat SYSLOG, customFieldNames ["number", "text"]\n'
        "  multiLineStartPattern: ^\\p{Digit}\n"
        f"    as Python's: {translate(start).text}\n"
        "  dataProcessingOptions[1].matchPattern: (\\d+) (.*)\n"
        f"    as Python's: {translate(match).text}\n"
        "  differs from the defaults: maxBufferAgeMillis 1,000, truncatedRecordTerminator '…\\n', aggregation true\n"
        "\n"
        f"flow 2: {tmp_path}/logs/{{a,b}}* -> delivery stream logs\n"
        "  files now: none\n"
        "\n"
        f"checkpoints: {tmp_path}/positions.kplpy (not there yet)\n"
        "settings that differ from the defaults: awsAccessKeyId id, awsSecretAccessKey ***\n"
        "\n"
        f"WARNING flow 2: no file matches {tmp_path}/logs/{{a,b}}* now: there is no directory {tmp_path}/logs\n"
        "0 errors, 1 warning: the agent would start\n"
    )
    assert explanation.exit_code == 0


def test_an_import_of_the_agents_checkpoints_is_announced(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    flow = {"filePattern": f"{tmp_path}/a", "kinesisStream": "orders"}
    text = explained([flow], checkpointFile=f"{tmp_path}/old").text
    assert f"\n  the Kinesis Agent's {tmp_path}/old is imported at the start\n" in text
    (tmp_path / "old.kplpy").touch()
    assert "imported" not in explained([flow], checkpointFile=f"{tmp_path}/old").text


def test_files_that_this_user_cannot_read_are_warned_about() -> None:
    flow = {"filePattern": "/var/log/*.log", "kinesisStream": "orders"}
    files = [FoundFile("/var/log/a.log", 1, 0, False, False), *FILES]
    assert explained([flow], files=files).warnings == (
        "flow 1: 1 file cannot be read by this user, such as /var/log/a.log",
    )


def test_checkpoints_that_cannot_be_written_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    flow = {"filePattern": "/var/log/*.log", "kinesisStream": "orders"}
    explanation = explained([flow], files=FILES, checkpointFile=f"{tmp_path}/file/below/positions")
    assert explanation.warnings == (f"checkpoints: this user cannot write {tmp_path}/file/below/positions.kplpy",)
    assert explained([flow], files=FILES, checkpointFile=f"{tmp_path}/new/positions").warnings == ()


def test_checkpoints_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "positions.kplpy").write_text("no database")
    flow = {"filePattern": f"{tmp_path}/a", "kinesisStream": "orders"}
    explanation = explain(from_mapping({"flows": [flow], "checkpointFile": f"{tmp_path}/positions"}), 0)
    (error,) = explanation.errors
    assert error.startswith(f"{tmp_path}/positions.kplpy: the checkpoint file cannot be read (")
    assert (explanation.exit_code, explanation.warnings) == (1, ())
    assert explanation.text.endswith("1 error, 0 warnings: the agent would not start\n")


def test_only_regular_expressions_are_translated() -> None:
    options = [
        {"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "\\|"},
        {"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "[", "quoting": "true"},
        {"optionName": "CSVTOJSON", "customFieldNames": ["a"]},
    ]
    flow = {"filePattern": "/var/log/*.log", "kinesisStream": "orders", "dataProcessingOptions": options}
    text = explained([flow], files=FILES).text
    assert [line for line in text.splitlines() if "].delimiter" in line] == [
        "  dataProcessingOptions[0].delimiter: \\|",
    ]


def test_warnings_fail_only_a_strict_check() -> None:
    flow = {"filePattern": "/var/log/*.log", "kinesisStream": "orders"}
    assert explained([flow], files=FILES, strict=True).exit_code == 0
    explanation = explained([{**flow, "typo": 1}], files=FILES)
    assert (explanation.exit_code, explanation.errors, explanation.warnings) == (
        *(0, ()),
        ("the configuration: flows[0].typo: is unknown, and has no effect",),
    )
    explanation = explained([{**flow, "typo": 1}], files=FILES, strict=True)
    assert explanation.exit_code == 1
    last = explanation.text.splitlines()[-1]
    assert last == "0 errors, 1 warning: the agent would start, but warnings count as errors (--strict)"


@pytest.mark.parametrize("strict", [False, True])
def test_errors_and_warnings_of_a_bad_file_are_shown(tmp_path: Path, strict: bool) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({"flows": [{"filePattern": "/a/b"}], "typo": 1}))
    explanation = check_file(path, strict=strict)
    assert explanation.text == (
        f"ERROR {path}, line 1: flows[0]: has neither kinesisStream nor deliveryStream\n"
        f"WARNING {path}, line 1: typo: is unknown, and has no effect\n"
        "1 error, 1 warning: the agent would not start\n"
    )
    assert explanation.exit_code == 1
