"""Versions agree, the workflows call what is there, and `make audit` ends as what pip-audit says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import kplpy

ROOT = Path(__file__).parents[3]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / ".github/workflows").glob("*.yml")}
JOBS: dict[str, dict[str, Any]] = {
    f"{name}: {job}": each for name, it in WORKFLOWS.items() for job, each in it["jobs"].items()
}
VULNERABLE = (
    '{"dependencies": [{"name": "idna", "version": "3.1", "vulns": [{"id": "PYSEC-7", "fix_versions": ["3.7"]}]}]}'
)
NO_NETWORK = "requests.exceptions.ConnectionError: Failed to resolve 'api.osv.dev'"


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- versions ---


def test_the_version_is_the_same_everywhere() -> None:
    found = re.search(r'^version = "(\d+\.\d+\.\d+)"$', text_of("pyproject.toml"), re.MULTILINE)
    assert found is not None
    assert found[1] == kplpy.__version__
    newest = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == kplpy.__version__


# --- the workflows ---


def steps(job: dict[str, Any], key: str) -> list[str]:
    return [step[key] for step in job["steps"] if key in step]


def test_releases_and_checks_run_what_a_person_runs() -> None:
    assert "make release" in steps(WORKFLOWS["release"]["jobs"]["packages"], "run")
    assert steps(WORKFLOWS["ci"]["jobs"]["all"], "run") == [".ci/run"]
    assert 'scripts/check_dist "${pythons[@]}"' in text_of(".ci/run")
    assert 'scripts/check_dist "${pythons[@]}"' in text_of("scripts/release")
    targets = set(re.findall(r"^([a-z]+):.*##", text_of("Makefile"), re.MULTILINE))
    for job in JOBS.values():
        for command in steps(job, "run"):
            if command.startswith("make "):
                assert command.removeprefix("make ") in targets


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_bounded_and_has_few_rights(name: str) -> None:
    job = JOBS[name]
    assert job["timeout-minutes"] <= 90
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", each) for each in steps(job, "uses"))
    rights = {"release: pypi": {"id-token": "write"}, "release: notes": {"contents": "write"}}
    assert job.get("permissions", {}) == rights.get(name, {})
    assert WORKFLOWS[name.partition(":")[0]]["permissions"] == {"contents": "read"}


def test_only_an_approved_job_publishes_and_it_gets_the_packages_alone() -> None:
    release = WORKFLOWS["release"]
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key "on" as true
    publishing = [name for name, job in JOBS.items() if any("pypi-publish" in each for each in steps(job, "uses"))]
    assert publishing == ["release: pypi"]
    job = release["jobs"]["pypi"]
    assert job["environment"] == "pypi"
    assert job["needs"] == "packages"
    assert "secrets." not in text_of(".github/workflows/release.yml")
    uploads = [
        step["with"] for step in release["jobs"]["packages"]["steps"] if "upload-artifact" in step.get("uses", "")
    ]
    assert [each["path"].split() for each in uploads if each["name"].startswith("packages")] == [
        ["dist/*.whl", "dist/*.tar.gz"],
        ["dist/*manylinux*.whl"],
    ]
    assert job["steps"][0]["with"]["pattern"] == "packages*"


# --- the Pythons ---


def test_a_free_threaded_python_is_not_taken_for_another(tmp_path: Path) -> None:
    for patch, flags in (("3.13.5t", "t"), ("3.13.2", "")):
        program = tmp_path / f".pyenv/versions/{patch}/bin/python"
        program.parent.mkdir(parents=True)
        answer = f"import sys; sys.version_info, sys.abiflags = (3, 13), {flags!r}; exec(sys.argv[1])"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{answer}" "$2"\n', encoding="utf-8")
        program.chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/find_python", "3.13"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / ".pyenv/versions/3.13.2/bin/python")


# --- make audit ---


def audit(folder: Path, script: str) -> tuple[int, str]:
    """Run scripts/audit with this pip-audit, whose $FILE is the argument of --output. Return exit code and output."""
    program = folder / "pip-audit"
    program.write_text(f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\nFILE=$2\n{script}\n', encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/audit"],
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo '{}' >$FILE", 0, "requirements/dev.lock: no known vulnerabilities"),
        (f"echo '{VULNERABLE}' >$FILE; exit 1", 1, "idna 3.1 has PYSEC-7, fixed in 3.7"),
        (f'echo "{NO_NETWORK}" >&2; exit 1', 0, "left out, because the vulnerability data cannot be had"),
        # as timeout ends it
        ("echo 'WARNING: slow'; exit 124", 0, "the vulnerability data cannot be had: no answer within 60 s"),
        ("exit 2", 1, "pip-audit failed"),
        ("echo 'ERROR: duplicate requirements' >&2; exit 1", 1, "pip-audit failed: ERROR: duplicate requirements"),
    ],
)
def test_audit_ends_as_what_pip_audit_says(script: str, code: int, said: str, tmp_path: Path) -> None:
    found, output = audit(tmp_path, script)
    assert said in output
    assert found == code
