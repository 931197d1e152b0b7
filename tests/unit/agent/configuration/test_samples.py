"""Configurations of users' reports: what is read from them, and what --check says about them and their files."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from kplpy.agent.configuration import load
from kplpy.agent.configuration.check import Explanation, check_file
from kplpy.agent.settings import AgentSettings
from kplpy.agent.tailing import Checkpoints, Descriptors, FlowTailer

SAMPLES = Path(__file__).parents[3] / "data/agent"
# Where a sample's files stand in its configuration → their folder in the sample.
PLACES = {
    "01-syslog-ng-one-glob-many-files": {"/mnt/log": "."},
    "02-recursive-globs": {"/var/log/shop": "shop", "/var/lib/docker/containers": "docker"},
    "04-rotates-into-a-subdirectory": {"/var/log/httpd": "httpd"},
    "05-copytruncate-olddir-dateformat": {"/var/log/tomcat": "tomcat"},
    "07-size-1000m-olddir-reload": {"/data/log": "data"},
    "08-header-lines-logtojson-restart": {"/tmp/logs/cps": "cps", "/tmp/agent-checkpoints": "state"},
    "09-two-flows-one-file-misplaced-option": {"/tmp/logs": "."},
    "11-broken-json-custom-apache": {"/opt/httpd/logs": "."},
    "12-multi-line-with-blank-lines": {"/var/log/api": "."},
    "14-windows-paths": {},
    "15-pretty-printed-json": {"/tmp/data": "data"},
    "17-typo-and-tabs-controller-log": {"/var/log": "."},
    "19-global-initial-position-env-substituted": {"/logs": ".", "/opt/agent/run": "state"},
    "20-twenty-seven-thousand-files": {"/data/spool": "spool"},
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the samples have paths of other systems")


class Sample:
    """A copy of a sample below `home`, where its configuration finds its files."""

    def __init__(self, name: str, home: Path) -> None:
        self.files = home / "files"
        shutil.copytree(SAMPLES / name / "files", self.files)
        self.path = home / "agent.json"
        text = (SAMPLES / name / "agent.json").read_text(encoding="utf-8")
        if '"checkpointFile"' not in text:  # this machine's own must not count
            text = text.replace("{", f'{{ "checkpointFile": "{home}/positions",', 1)
        for place, folder in PLACES[name].items():
            text = text.replace(f'"{place}', f'"{(self.files / folder).resolve()}')
        self.path.write_text(text, encoding="utf-8")
        self._home = home

    def settings(self) -> AgentSettings:
        return load(self.path)

    def check(self, strict: bool = False) -> Explanation:
        return check_file(self.path, now=0, strict=strict)

    def text(self) -> str:
        """The report, with the sample's own folder left out."""
        return self.check().text.replace(f"{self.files}/", "").replace(f"{self._home}/", "")

    def warnings(self) -> list[str]:
        return [each.replace(f"{self._home}/", "") for each in self.check().warnings]


@pytest.fixture
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    return Sample(request.param, tmp_path)


def of(number: int) -> pytest.MarkDecorator:
    """Give the test the sample with this number."""
    (name,) = (each for each in PLACES if each.startswith(f"{number:02}-"))
    return pytest.mark.parametrize("sample", [name], indirect=True, ids=[name])


def test_every_sample_has_a_place() -> None:
    assert {each.name for each in SAMPLES.iterdir()} == PLACES.keys()


@of(1)
def test_all_seven_files_are_followed(sample: Sample) -> None:
    assert sample.text() == (
        "flow 1: *.log* -> Kinesis stream fleet-syslog\n"
        "  files now: 7, 7,130 bytes\n"
        "    authpriv.log: 1,070 bytes, read from its end (only what is written from now on)\n"
        "    cron.log: 990 bytes, read from its end (only what is written from now on)\n"
        "    daemon.log: 1,030 bytes, read from its end (only what is written from now on)\n"
        "    kern.log: 990 bytes, read from its end (only what is written from now on)\n"
        "    local0.log: 1,030 bytes, read from its end (only what is written from now on)\n"
        "    and 2 more, of which 0 bytes would be read\n"
        "\n"
        "checkpoints: positions.kplpy (not there yet)\n"
        "\n"
        "0 errors, 0 warnings: the agent would start\n"
    )
    assert sample.check(strict=True).exit_code == 0


@of(2)
def test_globs_of_directories_match(sample: Sample) -> None:
    text = sample.text()
    for file in ("shop/app.log", "shop/api/api.log", "shop/api/v2/errorlog", "shop/2026/03/04/day.log"):
        assert f"    {file}: " in text
    assert "flow 2: docker/*/*-json.log -> Kinesis stream containers\n  files now: 1, 76 bytes\n" in text
    assert "flow 3: shop/*/*/*/day.log -> Kinesis stream by-date\n  files now: 1, 6 bytes\n" in text
    assert "settings that differ from the defaults: cloudwatch.emitMetrics false\n" in text
    (warning,) = sample.warnings()
    assert "flows[2].filePattern: can match the same file as " in warning
    assert warning.endswith(" of flows[0] of agent.json: its lines go to both destinations")
    assert (sample.check().exit_code, sample.check(strict=True).exit_code) == (0, 1)


@of(4)
def test_a_second_flow_for_rotated_files_is_warned_about(sample: Sample) -> None:
    assert sample.warnings() == [
        (
            "agent.json, line 8: flows[1].filePattern: has the names of files/httpd/web-access_log* of flows[0] of "
            "agent.json one directory away: if rotation moves files there, their lines go to access twice"
        ),
        "flow 2: no file matches files/httpd/rotated/web-access_log* now: there is no directory files/httpd/rotated",
    ]


@of(5)
def test_a_file_with_its_copies_elsewhere(sample: Sample) -> None:
    assert "  files now: 1, 3,580 bytes\n" in sample.text()
    assert sample.check().warnings == ()


@of(5)
def test_reading_goes_on_where_the_kinesis_agent_stopped(sample: Sample) -> None:
    settings = sample.settings()
    (flow,) = settings.flows
    status = os.stat(flow.file_pattern)
    assert settings.imported_checkpoints is not None
    database = sqlite3.connect(settings.imported_checkpoints)
    database.execute(
        "CREATE TABLE FILE_CHECKPOINTS (flow, path, fileId, lastModifiedTime, size, offset, lastUpdated, "
        "PRIMARY KEY (flow, path))"
    )
    file_id = f"(dev={status.st_dev:x},ino={status.st_ino})"
    row = (flow.id, flow.file_pattern, file_id, int(status.st_mtime * 1000), 3580, 116, "2026-03-04 10:00:00")
    database.execute("INSERT INTO FILE_CHECKPOINTS VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    database.close()
    before = Path(settings.imported_checkpoints).read_bytes()
    text = sample.text()
    assert "    tomcat/app.log: 3,580 bytes, goes on at byte 116 (checkpoint)\n" in text
    assert (
        "checkpoints: positions.kplpy (not there yet)\n  the Kinesis Agent's positions is imported at the start\n"
        in text
    )
    assert Path(settings.imported_checkpoints).read_bytes() == before


@of(7)
def test_reading_begins_at_the_beginning_only_without_a_checkpoint(sample: Sample) -> None:
    assert "    data/json_log-site: 400 bytes, read from its beginning\n" in sample.text()
    settings = sample.settings()
    checkpoints = Checkpoints(settings.checkpoint_file)
    tailer = FlowTailer(settings.flows[0], checkpoints, Descriptors(10))
    tailer.poll(0)
    chunk = tailer.read(1 << 20)
    assert chunk is not None
    tailer.accepted(chunk.file, 200)
    tailer.accepted(chunk.file, chunk.end)
    checkpoints.commit()
    # The agent that runs keeps its checkpoints: the check reads a copy of them.
    assert "    data/json_log-site: 400 bytes, goes on at byte 400 (checkpoint)\n" in sample.text()
    tailer.close()
    checkpoints.close()


@of(8)
def test_numbers_are_texts_and_unknown_keys_are_ignored(sample: Sample) -> None:
    settings = sample.settings()
    (flow,) = settings.flows
    assert (flow.skip_header_lines, flow.initial_position) == (1, "START_OF_FILE")
    assert (settings.kinesis_region, settings.firehose_region) == ("eu-west-1", "eu-west-1")
    assert settings.firehose_endpoint == "https://firehose.eu-west-1.amazonaws.com"
    assert sample.warnings() == ["agent.json, line 3: log.level: is unknown, and has no effect"]
    text = sample.text()
    assert '  processor: LOGTOJSON, logFormat COMMONAPACHELOG, customFieldNames ["Word"]\n' in text
    assert "  dataProcessingOptions[0].matchPattern: ([\\w]*)\n" in text
    assert "  differs from the defaults: initialPosition START_OF_FILE, skipHeaderLines 1\n" in text


@of(9)
def test_two_flows_read_one_file_and_a_misplaced_option_is_named_once(sample: Sample) -> None:
    settings = sample.settings()
    assert (settings.kinesis_endpoint, settings.firehose_region) == (None, "eu-west-1")
    raw, converted = settings.flows
    assert raw.file_pattern == converted.file_pattern
    assert raw.id != converted.id
    assert converted.processing == ()
    assert sample.warnings() == [
        "agent.json, line 10: flows[0].log.level: is unknown, and has no effect",
        (
            "agent.json, line 17: flows[1].optionName: has no effect here (also customFieldNames, delimiter), because "
            'it is a key of a processor: move it into dataProcessingOptions, as [{"optionName": …}]'
        ),
    ]


@of(11)
def test_broken_json_is_shown_with_lines_and_columns(sample: Sample) -> None:
    explanation = sample.check()
    assert explanation.exit_code == 1
    assert sample.text() == (
        "ERROR agent.json, line 12, column 28: not JSON: a backslash in a text of JSON is written twice: \\\\S, \\\\[, "
        "\\\\w, \\\\s and so on\n"
        'ERROR agent.json, line 12, column 59: not JSON: a double quote within a text of JSON is written \\"\n'
        "ERROR agent.json, line 12, column 61: not JSON: a backslash in a text of JSON is written twice: \\\\S, \\\\s, "
        "\\\\d\n"
        "ERROR agent.json, line 12, column 96: not JSON: a comma is missing here\n"
        "4 errors, 0 warnings: the agent would not start\n"
    )


@of(11)
def test_the_corrected_json_has_other_groups_than_names(sample: Sample) -> None:
    lines = sample.path.read_text(encoding="utf-8").split("\n")
    name, pattern = lines[11].split(": ", 1)
    pattern = pattern.strip()[1:-1].replace("\\", "\\\\").replace('"', '\\"')
    lines[11] = f'{name}: "{pattern}",'
    sample.path.write_text("\n".join(lines), encoding="utf-8")
    assert sample.warnings() == [
        (
            "agent.json, line 12: flows[0].dataProcessingOptions[0].matchPattern: has 6 groups and customFieldNames "
            "5 names: every record is dropped"
        )
    ]


@of(12)
def test_a_pattern_for_records_of_several_lines(sample: Sample) -> None:
    text = sample.text()
    assert "  multiLineStartPattern: ^\\d{2}:\\d{2}:\\d{2}\n" in text
    assert "flow 1: api.log -> delivery stream api\n" in text
    assert sample.warnings() == []


@of(14)
def test_a_path_of_windows_is_an_error_elsewhere(sample: Sample) -> None:
    explanation = sample.check()
    assert explanation.exit_code == 1
    assert sample.text() == (
        "ERROR agent.json, line 5: flows[0].filePattern: must be a path of this system, which is not Windows, got "
        "'d:/WEB1_*.log*'\n"
        "1 error, 0 warnings: the agent would not start\n"
    )


@of(15)
def test_records_of_pretty_printed_json(sample: Sample) -> None:
    text = sample.text()
    assert "flow 1: data -> delivery stream x\n" in text
    assert "  multiLineStartPattern: ^\\{\n" in text
    assert "  processor: SINGLELINE\n" in text


@of(17)
def test_a_misspelt_key_is_named_and_the_nested_class_is_translated(sample: Sample) -> None:
    assert sample.warnings() == [
        (
            "agent.json, line 9: flows[0].dataProcessingOptions[0].initialPostion: is unknown, and has no effect; "
            "did you mean initialPosition? That is a key of a flow: move it into each flow that it is meant for"
        )
    ]
    assert sample.settings().flows[0].max_buffer_age_ms == 1000
    assert "  dataProcessingOptions[0].matchPattern: ^(\\d+) ([\\w{3} (\\w{3})" in sample.text()


@of(19)
def test_a_variable_that_nothing_replaced_is_an_error(sample: Sample) -> None:
    explanation = sample.check()
    assert explanation.exit_code == 1
    assert sample.text() == (
        "ERROR agent.json, line 10: flows[0].kinesisStream: holds ${STREAM}, which nothing replaced with a value, got "
        "'${STREAM}'\n"
        "WARNING agent.json, line 3: initialPosition: has no effect here, because it is a key of a flow: move it into "
        "each flow that it is meant for\n"
        "1 error, 1 warning: the agent would not start\n"
    )


@of(20)
def test_many_files_are_counted_and_a_few_shown(sample: Sample) -> None:
    for number in range(2, 3001):
        (sample.files / f"spool/{number:06}.aws").write_text("x\n")
    text = sample.text()
    assert "  files now: 3,000, 6,000 bytes\n    spool/000001.aws: 2 bytes, read from its end" in text
    assert "    and 2,995 more, of which 0 bytes would be read\n" in text
