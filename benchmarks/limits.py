"""Measures what the bytes of a record cost without any of kplpy's code, and which part of its CPU time that is.

    python -m benchmarks.limits [--rounds 5]

A record's bytes are hashed (MD5, of the aggregate), encoded in base64, hashed again (SHA-256, of the body, which signs
it), encrypted (TLS) and sent through the kernel. Each is measured alone, on one thread, by the thread's CPU time. Then
a producer puts records of 1 KB and 50 KB over HTTPS into the sink, and the sum for their bytes is compared with its
CPU time. Everything is the median of the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import ssl
import statistics
import threading
import time
from binascii import b2a_base64
from collections.abc import Callable

import trustme

from benchmarks.peers.driver import make_keys
from benchmarks.processes import Sink
from benchmarks.stages import Stages, producer_to, run
from kplpy.accelerator import accelerated, native

BODY = 5 << 20
TLS_RECORD = 1 << 14
RECORDS = {1_000: 60_000, 50_000: 3_000}
"""Records a round, by size in bytes."""


def seconds_of(work: Callable[[], object]) -> float:
    """Return the calling thread's CPU seconds of one call."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


def md5() -> float:
    """Return the seconds for BODY bytes in aggregates of 50 KB."""
    aggregates = _aggregates()
    if accelerated:
        return seconds_of(lambda: native.md5_all(aggregates))
    return seconds_of(lambda: [hashlib.md5(each).digest() for each in aggregates])


def base64() -> float:
    """Return the seconds to encode BODY bytes, 50 KB at a time."""
    aggregates = _aggregates()
    encode = native.base64 if accelerated else b2a_base64

    def encode_all() -> None:
        for each in aggregates:
            encode(each)

    return seconds_of(encode_all)


def _aggregates() -> list[bytes]:
    return [os.urandom(BODY // 100) for _ in range(100)]


def sha256() -> float:
    """Return the seconds to hash BODY bytes."""
    data = os.urandom(BODY)
    return seconds_of(lambda: hashlib.sha256(data).digest())


def tls() -> float:
    """Return the seconds to encrypt BODY bytes into memory, with the cipher that OpenSSL chooses."""
    authority = trustme.CA()
    server_context, context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_context)
    authority.configure_trust(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for each in (client, server, client):
        try:
            each.do_handshake()
        except ssl.SSLWantReadError:
            continue
    body = memoryview(os.urandom(BODY))

    def encrypt() -> None:
        for at in range(0, BODY, TLS_RECORD):
            client.write(body[at : at + TLS_RECORD])
            to_server.read()

    return seconds_of(encrypt)


def kernel() -> float:
    """Return the sender's seconds to send BODY bytes over TCP on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sender:
        receiver, _ = listener.accept()
        with receiver:
            buffer, body = bytearray(1 << 18), os.urandom(BODY)

            def receive() -> None:
                left = BODY
                while left:
                    left -= receiver.recv_into(buffer)

            thread = threading.Thread(target=receive)
            thread.start()
            seconds = seconds_of(lambda: sender.sendall(body))
            thread.join()
            return seconds


def cpu_of_records(size: int, rounds: int) -> tuple[float, float]:
    """Return a record's CPU seconds in kplpy, and the bytes of the request's body."""
    found = []
    with Sink() as sink, producer_to(sink, metrics_level="none") as producer:
        for number in range(rounds + 1):
            before = sink.stats()["body_bytes"]
            keys = make_keys("fixed", RECORDS[size])
            cpu = run(producer, Stages(), keys, b"x" * size, "put_record", 20_000_000 // size)
            if number:  # the first round warms up
                found.append((cpu / RECORDS[size], (sink.stats()["body_bytes"] - before) / RECORDS[size]))
    return statistics.median(cpu for cpu, _ in found), statistics.median(sent for _, sent in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    parts = (md5, base64, sha256, tls, kernel)
    seconds = {part.__name__: statistics.median(part() for _ in range(rounds)) / BODY for part in parts}
    records = {size: cpu_of_records(size, rounds) for size in RECORDS}
    print(f"| | GB/s | {' | '.join(f'{size:,} B: µs a record' for size in RECORDS)} |")
    print(f"|---|---|{'---|' * len(RECORDS)}")
    sums = dict.fromkeys(RECORDS, 0.0)
    for name, each in seconds.items():
        column = []
        for size, (_, sent) in records.items():
            # MD5 and base64 read the data, the others the body, which is 4/3 of it.
            cost = 1e6 * each * (sent * 3 / 4 if name in ("md5", "base64") else sent)
            sums[size] += cost
            column.append(f"{cost:.2f}")
        print(f"| {name} | {1e-9 / each:.2f} | {' | '.join(column)} |")
    print(f"| sum | | {' | '.join(f'{each:.2f}' for each in sums.values())} |")
    print(f"| kplpy | | {' | '.join(f'{1e6 * cpu:.2f}' for cpu, _ in records.values())} |")
    shares = [f"{sums[size] / cpu * 1e-4:.0f} %" for size, (cpu, _) in records.items()]
    print(f"| share | | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
