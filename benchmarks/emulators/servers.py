"""How to start each emulator, of a pinned version, with and without its persistence."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.environments import BUILD, LOCKS, UnavailableError, environment

HERE = Path(__file__).resolve().parent
NODE = BUILD / "emulators"


@dataclass(frozen=True)
class Emulator:
    """An emulator and its command.

    command: returns the command for a port and, for persistence, a directory
    variables: returns the environment variables for the same
    version: returns "" for this checkout
    is_durable: it has an option for persistence
    unlimited: further arguments that switch off its limits per second
    """

    name: str
    version: Callable[[], str]
    command: Callable[[int, Path | None], list[str]]
    variables: Callable[[int, Path | None], Mapping[str, str]] = lambda port, directory: {}
    is_durable: bool = True
    unlimited: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} {self.version()}".strip()


@dataclass
class Server:
    """A running emulator. pid: of its process."""

    endpoint_url: str
    pid: int
    process: subprocess.Popen[bytes]
    ca_bundle: str | None = None


def _kplpy(port: int, directory: Path | None) -> list[str]:
    kept = [] if directory is None else ["--data-dir", str(directory)]
    return [str(Path(sys.executable).with_name("kplpy")), "local", "--port", str(port), *kept]


def _moto(port: int, _: Path | None) -> list[str]:
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def _ministack(_: int, __: Path | None) -> list[str]:
    return [str(environment("ministack", "bench-ministack").with_name("ministack"))]


def _ministack_variables(port: int, directory: Path | None) -> Mapping[str, str]:
    kept = {} if directory is None else {"PERSIST_STATE": "1", "STATE_DIR": str(directory)}
    return {"GATEWAY_PORT": str(port), **kept}


def _node_program(name: str) -> str:
    wanted, ready = (HERE / "package-lock.json").read_text(encoding="utf-8"), NODE / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        if shutil.which("npm") is None:
            raise UnavailableError("there is no npm here")
        NODE.mkdir(parents=True, exist_ok=True)
        for each in ("package.json", "package-lock.json"):
            shutil.copy(HERE / each, NODE)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=NODE, check=True, timeout=300, stdout=subprocess.DEVNULL)
        ready.write_text(wanted, encoding="utf-8")
    return str(NODE / f"node_modules/.bin/{name}")


def _kinesis_local_variables(port: int, directory: Path | None) -> Mapping[str, str]:
    kept = {} if directory is None else {"SHOULD_PERSIST_DATA": "true", "PERSIST_PATH": str(directory)}
    ports = {"KINESIS_MOCK_PLAIN_PORT": str(port), "KINESIS_MOCK_TLS_PORT": str(free_port())}
    certificate = NODE / "node_modules/kinesis-local/server.json"
    return {**ports, "KINESIS_MOCK_CERT_PATH": str(certificate), "LOG_LEVEL": "ERROR", **kept}


def _kinesalite(port: int, directory: Path | None) -> list[str]:
    kept = [] if directory is None else ["--path", str(directory)]
    return [_node_program("kinesalite"), "--port", str(port), "--shardLimit", "100", *kept]


def _npm_version(name: str) -> str:
    locked = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    return str(locked["packages"][f"node_modules/{name}"]["version"])


def _locked_version(name: str) -> str:
    text = (LOCKS / f"bench-{name}.lock").read_text(encoding="utf-8")
    return text.partition(f"\n{name}==")[2].split()[0]


EMULATORS = [
    Emulator("kplpy local", lambda: "", _kplpy, unlimited=("--no-limits",)),
    Emulator("moto", lambda: metadata.version("moto"), _moto, is_durable=False),
    Emulator("ministack", lambda: _locked_version("ministack"), _ministack, _ministack_variables),
    Emulator(
        "kinesis-local",
        lambda: _npm_version("kinesis-local"),
        lambda port, directory: [_node_program("kinesis-local")],
        _kinesis_local_variables,
    ),
    Emulator("kinesalite", lambda: _npm_version("kinesalite"), _kinesalite),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(emulator: Emulator, directory: Path | None = None, limits: bool = True) -> Iterator[Server]:
    """Start an emulator and wait until its port accepts connections.

    Raises UnavailableError if it cannot be installed or does not start within 30 s.
    """
    port = free_port()
    command = [*emulator.command(port, directory), *(() if limits else emulator.unlimited)]
    variables = emulator.variables(port, directory)
    with subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait(port, process, emulator.name)
            yield Server(f"http://127.0.0.1:{port}", process.pid, process)
        finally:
            process.kill()


def _wait(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise UnavailableError(f"{name} ended with {process.returncode}") from None
            time.sleep(0.1)
    raise UnavailableError(f"{name} does not accept connections after 30 s")
