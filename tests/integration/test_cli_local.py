"""`kplpy local`, and the messages when credentials, servers or extras are missing."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import kplpy
from tests.integration.cli_process import Running, environment, run


def test_local_serves_put_and_tail(tmp_path: Path) -> None:
    with Running(tmp_path, "local", "--port", "0", "--stream", "orders=2", "--stream", "other") as server:
        server.wait_for(b"Ctrl-C ends it")
        output = server.out.decode()
        assert "orders (2 shards), other (1 shard)" in output
        url = re.findall(r"http://127\.0\.0\.1:\d+", output)[0]
        assert run(tmp_path, "put", "orders", "--endpoint-url", url, given=b"hello\n").returncode == 0
        # The variable that all AWS SDKs read works as well.
        done = run(tmp_path, "tail", "orders", "--from-start", "--no-follow", AWS_ENDPOINT_URL_KINESIS=url)
        assert done.stdout == b"hello\n"
        server.process.send_signal(signal.SIGINT)
        assert server.end(20) == 0
    assert server.err == b""


def test_local_over_https_and_on_disk(tmp_path: Path) -> None:
    for expected in (b"one\n", b"one\none\n"):  # the second run has the first run's record
        with Running(tmp_path, "local", "--port", "0", "--https", "--data-dir", "kept") as server:
            server.wait_for(b"for --ca-bundle")
            output = server.out.decode()
            arguments = ["test", "--endpoint-url", re.findall(r"https://\S+", output)[0]]
            bundle = re.findall(r"signed by (\S+)", output)[0]
            untrusted = run(tmp_path, "put", *arguments, given=b"x\n")
            assert untrusted.returncode == 1
            assert b"--ca-bundle FILE trusts a certificate" in untrusted.stderr
            assert untrusted.stderr.count(b"\n") == 1
            assert run(tmp_path, "put", *arguments, "--ca-bundle", bundle, given=b"one\n").returncode == 0
            done = run(tmp_path, "tail", *arguments, "--no-verify", "--from-start", "--no-follow", "-q")
            assert done.stdout == expected
            server.process.terminate()
            assert server.end(20) == 0


def test_the_streams_of_a_data_directory_are_named_and_no_other_is_made(tmp_path: Path) -> None:
    def first_line(*arguments: str) -> str:
        with Running(tmp_path, "local", "--port", "0", "--data-dir", "kept", *arguments) as server:
            server.wait_for(b"Ctrl-C ends it")
            url = re.findall(r"http://127\.0\.0\.1:\d+", server.out.decode())[0]
            if not put:
                put.append(run(tmp_path, "put", "orders", "--endpoint-url", url, given=b"1\n2\n").returncode)
            server.process.terminate()
            assert server.end(20) == 0
        return re.sub(r":\d+ ", ":0 ", server.out.decode()).strip()

    put: list[int] = []
    begun = "Kinesis at http://127.0.0.1:0 with "
    assert first_line("--stream", "orders=2") == f"{begun}orders (2 shards); Ctrl-C ends it"
    assert put == [0]
    output = first_line("--shards", "7")
    assert re.fullmatch(rf"{begun}orders \(2 shards, [12] records? restored\); Ctrl-C ends it", output)
    output = first_line("--stream", "orders=3", "--stream", "more")
    assert re.search(r"restored, not 3 as requested: the stream existed already\), more \(1 shard\); Ctrl-C", output), (
        output
    )


def test_a_data_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "kinesis.log").symlink_to("/dev/null")
    done = run(tmp_path, "local", "--port", "0", "--data-dir", "kept")
    assert (done.returncode, done.stdout) == (1, b"")
    output = done.stderr.decode()
    assert output == "Error: cannot use kept/kinesis.log: it is a symbolic link, which is not followed\n"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "local", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot serve on 127.0.0.1, port {port}: ".encode())
    assert done.stderr.count(b"\n") == 1


def test_the_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout.startswith(f"kplpy {kplpy.__version__}\naccelerator: o".encode())


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
NO_SERVER = "http://127.0.0.1:9"  # the discard port


@pytest.mark.parametrize("command", ["put", "tail"])
@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["s", "--region", "eu-west-1"], {}, "no AWS credentials: set AWS_ACCESS_KEY_ID"),
        (["s"], CREDENTIALS, "no AWS region: give --region, or set AWS_DEFAULT_REGION"),
        (["s", "--profile", "nobody"], {}, "The config profile (nobody) could not be found"),
        (["s", "--endpoint-url", NO_SERVER], {}, f'Could not connect to the endpoint URL: "{NO_SERVER}/"'),
        (["s", "--endpoint-url", "nowhere"], {}, "endpoint_url must be http:// or https://"),
    ],
)
def test_a_missing_setting_is_reported_in_one_line(
    tmp_path: Path, command: str, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    done = run(tmp_path, command, *arguments, given=b"", **variables)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"Error: {message}"), done.stderr
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra(tmp_path: Path, missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from kplpy.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, env=environment(tmp_path), text=True
    )
    assert done.returncode == 1
    assert done.stderr == (f"kplpy: the command line needs its extra: pip install 'kplpy[cli]' (missing: {missing})\n")


@pytest.mark.parametrize("command", ["local", "demo"])
def test_without_the_local_extra(tmp_path: Path, command: str) -> None:
    program = f"import sys; sys.modules['aiohttp'] = None; sys.argv = ['kplpy', {command!r}, *sys.argv[1:]]; "
    program += "from kplpy.cli import main; main()"
    (tmp_path / "lines").write_text("x\n")
    arguments = ["lines"] if command == "demo" else []
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        timeout=60,
        env=environment(tmp_path),
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: this needs the extra: pip install 'kplpy[cli,local]'")
    assert done.stderr.count("\n") == 1


def test_the_console_script_is_there() -> None:
    script = Path(sys.executable).with_name("kplpy")
    assert subprocess.run([script, "--version"], capture_output=True, timeout=60).returncode == 0
