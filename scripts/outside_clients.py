"""Runs other Kinesis clients, unchanged and of pinned versions, against a local Kinesis, and prints what each passed.

    scripts/outside_clients.py all | NAME...

The programs are in tests/outside; see its README. Their packages come from the languages' registries when they are not
on this machine yet. A client whose tools are missing is left out, with a word. The result is 0 if all others passed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.environments import UnavailableError, environment
from kplpy import deaggregate
from kplpy.local import LocalKinesis
from kplpy.local.server.http2 import Http2Protocol
from kplpy.local.server.service import Reply, Service

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "tests/outside"
BUILD = ROOT / "build/outside"
AUTHORITIES, PASSWORD = BUILD / "authorities.p12", "changeit"
STREAM, AUTO_STREAM, RECORDS = "orders", "events", 200
BASIC = ("create", "put record", "put records", "list shards", "read", "split", "merge", "closed shard", "typed error")
FAN_OUT = (*BASIC, "fan-out")
BUILDING = 900
"""Seconds for fetching and compiling a client's packages, the first time."""
RUNNING = 120
"""Seconds for a program."""


@dataclass(frozen=True)
class Client:
    """A client, and how its program is built and checked.

    tools: programs that the machine must have
    version: a file with the version and a regular expression that finds it
    checks: what the program must print, in this order
    build: returns the command of the program, built. The stream and the other arguments follow it.
    """

    name: str
    tools: tuple[str, ...]
    version: tuple[str, str]
    checks: tuple[str, ...]
    build: Callable[[], list[str]]
    arguments: tuple[str, ...] = ()
    https: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def pinned(self) -> str:
        place, pattern = self.version
        found = re.search(pattern, (ROOT / place).read_text(encoding="utf-8"))
        if found is None:
            raise LookupError(f"{place} has no {pattern}")
        return found[1]


def run(command: list[str], cwd: Path, **variables: str) -> None:
    """Run a step of a build. Raises UnavailableError with the last of its output if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=BUILDING,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(f"`{' '.join(command)}` failed: {done.stdout[-1500:]}")


def copied(name: str) -> Path:
    """Copy a program's folder into build/, where its tools may write. What they left there stays."""
    work = BUILD / name
    shutil.copytree(PROGRAMS / name, work, dirs_exist_ok=True)
    return work


def aws_cli() -> list[str]:
    programs = environment("outside-aws-cli", "outside-aws-cli").parent
    return ["env", f"PATH={programs}{os.pathsep}{os.environ['PATH']}", str(PROGRAMS / "aws_cli")]


def python(name: str, place: str, lock: str) -> list[str]:
    return [str(environment(place, lock)), str(PROGRAMS / f"python/{name}_client.py")]


def node() -> list[str]:
    work = copied("node")
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"], work)
    return ["node", "--no-warnings", str(work / "client.mjs")]


def go() -> list[str]:
    work = copied("go")
    run(["go", "build", "-o", "client", "."], work, GOTOOLCHAIN="local", GOFLAGS="-mod=readonly -buildvcs=false")
    return [str(work / "client")]


def rust() -> list[str]:
    work = copied("rust")
    run(["cargo", "build", "--locked", "--quiet"], work, CARGO_TARGET_DIR=str(work / "target"))
    return [str(work / "target/debug/outside")]


def java(name: str, main: str) -> list[str]:
    work = copied(name)
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=target/path"]
    run(["mvn", "-q", "-B", "-ntp", *goals], work)
    classpath = f"{work / 'target/classes'}:{(work / 'target/path').read_text(encoding='utf-8').strip()}"
    trusted = [f"-Djavax.net.ssl.trustStore={AUTHORITIES}", f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"]
    return ["java", "-Xmx512m", *trusted, "-cp", classpath, main]


AWS_JAVA = ("tests/outside/java/pom.xml", r"<artifactId>kinesis</artifactId>\s*<version>([^<]+)")
CLIENTS = [
    Client("aws-cli", ("bash",), ("requirements/outside-aws-cli.lock", r"awscli==(\S+)"), BASIC, aws_cli),
    Client(
        "aiobotocore",
        (),
        ("requirements/outside-aiobotocore.lock", r"aiobotocore==(\S+)"),
        FAN_OUT,
        lambda: python("aiobotocore", "outside-aiobotocore", "outside-aiobotocore"),
    ),
    Client(
        "js",
        ("node", "npm"),
        ("tests/outside/node/package.json", r'client-kinesis": "([^"]+)'),
        FAN_OUT,
        node,
    ),
    Client("go", ("go",), ("tests/outside/go/go.mod", r"service/kinesis v(\S+)"), FAN_OUT, go),
    Client("rust", ("cargo",), ("tests/outside/rust/Cargo.toml", r'aws-sdk-kinesis = "=([^"]+)'), FAN_OUT, rust),
    Client("java-sync", ("javac", "mvn"), AWS_JAVA, BASIC, lambda: java("java", "outside.Client"), ("sync",)),
    Client("java-async", ("javac", "mvn"), AWS_JAVA, FAN_OUT, lambda: java("java", "outside.Client"), ("async",)),
    Client(
        "java-async-tls",
        ("javac", "mvn", "keytool"),
        AWS_JAVA,
        FAN_OUT,
        lambda: java("java", "outside.Client"),
        ("async",),
        https=True,
    ),
    Client(
        "kpl",
        ("javac", "mvn", "keytool"),
        ("tests/outside/kpl/pom.xml", r"producer</artifactId>\s*<version>([^<]+)"),
        ("keyed", "AUTO without keys"),
        lambda: java("kpl", "outside.Kpl"),
        (AUTO_STREAM, str(RECORDS), str(BUILD / "kpl")),
        https=True,
    ),
    Client(
        "aiokpl",
        (),
        ("requirements/bench-aiokpl.lock", r"aiokpl==(\S+)"),
        ("keyed",),
        lambda: python("aiokpl", "aiokpl", "bench-aiokpl"),
        (str(RECORDS),),
    ),
    Client(
        "async-kinesis",
        (),
        ("requirements/bench-async-kinesis.lock", r"async-kinesis==(\S+)"),
        ("keyed", "read"),
        lambda: python("async_kinesis", "async_kinesis", "bench-async-kinesis"),
        (str(RECORDS),),
    ),
]
NAMES = [each.name for each in CLIENTS]


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collect the body formats and HTTP versions in which the server is called."""
    seen: set[str] = set()
    reply, received = Service.reply, Http2Protocol.data_received

    def watch_reply(self: Service, method: str, target: str, content_type: str, body: bytes, *more: str) -> Reply:
        seen.add("CBOR" if "cbor" in content_type else "JSON")
        return reply(self, method, target, content_type, body, *more)

    def watch_http2(self: Http2Protocol, data: bytes) -> None:
        seen.add("HTTP/2")
        received(self, data)

    with (
        mock.patch.object(Service, "reply", watch_reply),
        mock.patch.object(Http2Protocol, "data_received", watch_http2),
    ):
        yield seen


def contents(kinesis: LocalKinesis, stream: str) -> list[bytes]:
    return sorted(each.data for one in kinesis.ledger(stream) for each in deaggregate(one.data))


def problems(client: Client, kinesis: LocalKinesis) -> str:
    """Return what is wrong in the server after a program that ended well, or ""."""
    if "split" in client.checks:
        wanted, streams = [b"four", b"one", b"three", b"two"], [STREAM]
        if (shards := len(kinesis.handle("ListShards", {"StreamName": STREAM})["Shards"])) != 5:
            return f"the stream has {shards} shards, not 5"
    else:
        wanted = sorted(b"record %d" % each for each in range(RECORDS))
        streams = [STREAM, AUTO_STREAM] if "AUTO without keys" in client.checks else [STREAM]
    wrong = [each for each in streams if contents(kinesis, each) != wanted]
    return f"{', '.join(wrong)} has other records than the program put" if wrong else ""


def trust(kinesis: LocalKinesis) -> None:
    """Write a Java trust store with the server's certificate authority."""
    AUTHORITIES.unlink(missing_ok=True)
    command = [
        "keytool",
        "-importcert",
        "-noprompt",
        "-alias",
        "local",
        "-storetype",
        "PKCS12",
        "-storepass",
        PASSWORD,
    ]
    run([*command, "-file", str(kinesis.ca_bundle), "-keystore", str(AUTHORITIES)], BUILD)


@dataclass
class Outcome:
    """The result of one client. problem: "" if it passed; is_missing: tools or packages are missing."""

    passed: list[str]
    problem: str = ""
    is_missing: bool = False
    wire: str = ""
    seconds: float = 0.0


def outcome(client: Client) -> Outcome:
    missing = [each for each in client.tools if shutil.which(each) is None]
    if missing:
        return Outcome([], f"not here: {', '.join(missing)}", is_missing=True)
    try:
        command = client.build()
    except (UnavailableError, subprocess.TimeoutExpired) as error:
        return Outcome([], f"not built: {error}")
    streams = {} if "create" in client.checks else {STREAM: 2}
    with watched() as seen, LocalKinesis(stream=None, streams=streams, https=client.https) as kinesis:
        if streams:
            mode = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RecordDistributionStrategy": "AUTO"}
            kinesis.handle("CreateStream", {"StreamName": AUTO_STREAM, **mode})
        if client.https:
            trust(kinesis)
        result = judged(client, [*command, STREAM, *client.arguments], kinesis)
    versions = "HTTP/2" if "HTTP/2" in seen else "HTTP/1.1"
    result.wire = ", ".join([*sorted(seen - {"HTTP/2"}), versions, *(["TLS"] if client.https else [])])
    return result


def judged(client: Client, command: list[str], kinesis: LocalKinesis) -> Outcome:
    """Run the program and compare what it printed, and what the server has, with what they should."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables |= {"AWS_ENDPOINT_URL_KINESIS": kinesis.endpoint_url, "AWS_REGION": kinesis.region_name}
    variables |= {"AWS_DEFAULT_REGION": kinesis.region_name, "AWS_EC2_METADATA_DISABLED": "true"}
    variables |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    began = time.monotonic()
    output: Any = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdout=output, stderr=output, text=True) as program:
        try:
            printed, errors = program.communicate(timeout=RUNNING)
        except subprocess.TimeoutExpired:
            program.kill()
            printed, errors = program.communicate()
            errors += f"\nstopped after {RUNNING} s"
    passed = [line[3:] for line in printed.splitlines() if line.startswith("ok ")]
    result = Outcome(passed, seconds=time.monotonic() - began)
    if program.returncode or passed != list(client.checks):
        result.problem = f"ended with {program.returncode}: {errors.strip()[-1500:]}"
    else:
        result.problem = problems(client, kinesis)
    return result


def main(names: list[str]) -> int:
    unknown = [each for each in names if each not in (*NAMES, "all")]
    if not names or unknown:
        print(f"usage: scripts/outside_clients.py all | NAME...; the names are {' '.join(NAMES)}", file=sys.stderr)
        return 2
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = []
    print("| client | version | on the wire | passed | seconds |\n|---|---|---|---|---|")
    for client in CLIENTS:
        if client.name not in names and "all" not in names:
            continue
        result = outcome(client)
        words = ", ".join(result.passed) or "nothing"
        if result.is_missing:
            words = f"left out ({result.problem})"
        elif result.problem:
            failed.append(client.name)
            words += " (FAILED)"
            print(f"{client.name}: {result.problem}", file=sys.stderr)
        print(f"| {client.name} | {client.pinned()} | {result.wire} | {words} | {result.seconds:.1f} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
