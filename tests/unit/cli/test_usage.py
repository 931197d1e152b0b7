"""Wrong options and values are reported as one line, before anything is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import kplpy
from kplpy import accelerator
from kplpy.cli.app import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("put", "STREAM is missing"),
        ("put s --key a --random-key", "choose one of --key, --random-key, --json-key and --regex-key"),
        ("put s --json-key a --regex-key b", "choose one of"),
        ("put s --regex-key (", "'(' is not a regular expression"),
        ("put s --key=", "--key: must have 1 to 256 characters, got 0"),
        (f"put s --key {'x' * 257}", "got 257"),
        ("put s --missing-key never", "'never' is not one of"),
        ("put s --rate 0", "0 is not in the range x>0"),
        ("put s --skip -1", "-1 is not in the range x>=0"),
        ("put s --skip many", "'many' is not a valid integer"),
        ("put s --skip 1.5", "'1.5' is not a valid integer"),
        ("put s no-such-file", "'no-such-file' does not exist"),
        ("put s --config no-such-file", "'no-such-file' does not exist"),
        ("put s --from-failed no-such-file", "'no-such-file' does not exist"),
        ("put s --from-failed - --key k", "--from-failed takes records with their keys"),
        ("put s /dev/null --from-failed -", "--from-failed takes records with their keys"),
        ("put s --from-failed {file} --failed {file}", "must be different files"),
        ("put s --ca-bundle {file} --no-verify", "contradict each other"),
        ("put s --set x", "must be field=value"),
        ("tail", "Missing argument 'STREAM'"),
        ("tail s --from-start --at-timestamp 1h", "contradict each other"),
        ("tail s --no-follow", "--no-follow needs --from-start or --at-timestamp"),
        ("tail s --at-timestamp yesterday", "must be like 2026-11-23T06:00:00Z"),
        ("tail s --at-timestamp 99999999999", "99999999999 lies in the future"),
        ("tail s --limit 0", "0 is not in the range x>=1"),
        ("tail s --interval 0.1", "0.1 is not in the range x>=0.2"),
        ("local --stream a=b", "must be NAME or NAME=SHARDS, got 'a=b'"),
        ("local --port 70000", "70000 is not in the range"),
        ("local --shards 0", "0 is not in the range"),
        ("demo --shards 0", "0 is not in the range"),
        ("demo no-such-file", "'no-such-file' does not exist"),
        ("putt", "No such command 'putt'"),
    ],
)
def test_wrong_usage(arguments: str, message: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("usage") / "file"
    file.touch()
    result = CliRunner().invoke(cli, arguments.format(file=file).split())
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("put s --set rate_limit=0", "rate_limit must be at least 1"),
        ("put s --endpoint-url nowhere", "endpoint_url must be http"),
        ("tail s --endpoint-url nowhere", "endpoint_url must be http"),
        ("local --stream a/b", "a stream's name must match"),
        ("local --stream a=0", "a stream has 1 to 10000 shards; got 0 for 'a'"),
        ("local --data-dir d --no-store", "choose one"),
        ("local --region nowhere", "region_name must look like us-east-1, got 'nowhere'"),
    ],
)
def test_wrong_values(arguments: str, message: str) -> None:
    result = CliRunner().invoke(cli, arguments.split())
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {message}") or message in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("command", ["", "put", "tail", "local", "demo"])
def test_help(command: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "kplpy"], [Path(sys.executable).with_name("kplpy")]], ids=["module", "script"]
)
def test_the_module_and_the_script_are_the_same_command(command: list[str]) -> None:
    def run(argument: str) -> tuple[int, str, str]:
        done = subprocess.run([*command, argument], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    assert run("--version") == (0, f"kplpy {kplpy.__version__}\naccelerator: {accelerator.describe()}\n", "")
    code, output, errors = run("--help")
    assert (code, errors) == (0, "")
    assert output.startswith("Usage: kplpy [OPTIONS] COMMAND")
    assert run("putt")[0] == 2


def test_without_the_extra_one_line_says_what_to_install() -> None:
    program = "import runpy, sys; sys.modules['click'] = None; runpy.run_module('kplpy', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "kplpy: the command line needs its extra: pip install 'kplpy[cli]' (missing: click)\n"
