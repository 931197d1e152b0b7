"""The files of examples/agent/: the unit and the manifest are valid, and paths agree between all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from kplpy import deaggregate
from kplpy.agent import Agent
from kplpy.agent.configuration import load
from kplpy.agent.configuration.check import check_file
from kplpy.local import LocalKinesis
from tests.examples.helpers import EXAMPLES, ROOT

AGENT = EXAMPLES / "agent"
CONFIGURATION, STATE = "/etc/kplpy/agent.json", "/var/lib/kplpy/agent"


def unit(name: str) -> list[str]:
    """Return the values of a setting in the unit."""
    lines = (AGENT / "kplpy-agent.service").read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def manifests() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((AGENT / "daemonset.yaml").read_text())}


def pod() -> Any:
    return manifests()["DaemonSet"]["spec"]["template"]["spec"]


def test_systemd_knows_every_setting_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (AGENT / "kplpy-agent.service").read_text()
    copy = tmp_path / "kplpy-agent.service"
    copy.write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", text))  # the command is not installed here
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_runs_the_agent_with_its_own_state() -> None:
    (command,) = unit("ExecStart")
    assert command.split()[1:] == ["agent", "-c", CONFIGURATION]
    assert Path("/var/lib") / unit("StateDirectory")[0].split()[-1] == Path(STATE)


def test_each_container_has_time_to_deliver_what_was_read() -> None:
    assert int(unit("TimeoutStopSec")[0]) > 10
    assert pod()["terminationGracePeriodSeconds"] > 10


def test_the_image_runs_the_agent() -> None:
    lines = (AGENT / "Dockerfile").read_text().splitlines()
    entry = next(line.partition(" ")[2] for line in lines if line.startswith("ENTRYPOINT"))
    arguments = next(line.partition(" ")[2] for line in lines if line.startswith("CMD"))
    assert json.loads(entry)[1:] + json.loads(arguments) == ["agent", "-c", CONFIGURATION]
    assert f"VOLUME {STATE}" in lines


def test_the_manifest_mounts_what_the_agent_needs_and_no_more() -> None:
    (container,) = pod()["containers"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert set(mounts) == {"/etc/kplpy", "/var/log/pods", STATE, "/tmp"}
    assert [path for path, each in mounts.items() if each.get("readOnly")] == ["/etc/kplpy", "/var/log/pods"]
    assert {each["name"] for each in mounts.values()} == {each["name"] for each in pod()["volumes"]}
    rights = container["securityContext"]
    assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False)
    assert rights["capabilities"] == {"drop": ["ALL"]}


def test_the_parts_of_the_manifest_name_each_other() -> None:
    parts = manifests()
    name = parts["Namespace"]["metadata"]["name"]
    assert {each["metadata"]["namespace"] for kind, each in parts.items() if kind != "Namespace"} == {name}
    assert pod()["serviceAccountName"] == parts["ServiceAccount"]["metadata"]["name"]
    labels = parts["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert parts["DaemonSet"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (configuration,) = (each for each in pod()["volumes"] if "configMap" in each)
    assert configuration["configMap"]["name"] == parts["ConfigMap"]["metadata"]["name"]
    assert list(parts["ConfigMap"]["data"]) == [Path(CONFIGURATION).name]


def test_the_tables_of_files_are_complete() -> None:
    page = (ROOT / "docs" / "agent-running.md").read_text()
    assert [each.name for each in sorted(AGENT.iterdir()) if f"| [{each.name}](" not in page] == []


def test_the_check_finds_no_fault_in_the_configurations(tmp_path: Path) -> None:
    in_cluster = tmp_path / "agent.json"
    in_cluster.write_text(manifests()["ConfigMap"]["data"]["agent.json"])
    for path in (AGENT / "agent.json", in_cluster):
        explanation = check_file(path, now=time.time())
        assert not explanation.errors
        # Only that the logs are not on this machine.
        assert [each for each in explanation.warnings if "no file matches" not in each] == []


def test_the_sample_sends_lines_stack_traces_and_joined_objects(tmp_path: Path) -> None:
    text = (
        (AGENT / "agent.json")
        .read_text()
        .replace("/var/log", str(tmp_path))
        .replace('"kinesis.region": "eu-west-1",', "")
    )
    logs = {
        "shop/web.log": "one\ntwo\n",
        "shop/jobs/a/b.log": "2026-11-29T11:00:00 failed\n  at a\n  at b\n2026-11-29T11:00:01 done\n",
        "nginx/access.log": '192.0.2.7 - ann [03/Feb/2026:10:20:30 +0000] "GET / HTTP/1.1" 200 5 "-" "tester"\n' * 3,
    }
    for name, content in logs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with LocalKinesis(streams={"shop-logs": 1, "shop-jobs": 1}, delivery_streams=["access-logs"]) as kinesis:
        added = {
            "kinesis.endpoint": kinesis.endpoint_url,
            "kinesis.region": kinesis.region_name,
            "firehose.endpoint": kinesis.endpoint_url,
            "awsAccessKeyId": "local",
            "awsSecretAccessKey": "local",
            "cloudwatch.emitMetrics": False,
            "checkpointFile": str(tmp_path / "checkpoints"),
            "importCheckpointFile": "",
            "statusSocket": str(tmp_path / "status"),
        }
        path = tmp_path / "agent.json"
        path.write_text(text.replace("{", json.dumps(added)[:-1] + ",", 1))
        settings = load(path)
        flows = tuple(replace(each, initial_position="START_OF_FILE") for each in settings.flows)
        assert Agent(replace(settings, flows=flows)).run_once()
        ledger = kinesis.ledger("shop-logs")
        assert sorted(each.data for each in ledger) == [b"one\n", b"two\n"]
        (aggregate,) = kinesis.ledger("shop-jobs")
        records = [each.data for each in deaggregate(aggregate.data)]
        assert records == [b"2026-11-29T11:00:00 failed\n  at a\n  at b\n", b"2026-11-29T11:00:01 done\n"]
        (joined,) = kinesis.firehose_ledger("access-logs")
        assert [json.loads(line)["agent"] for line in joined.data.splitlines()] == ["tester"] * 3
