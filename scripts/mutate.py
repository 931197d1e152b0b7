"""Checks that the simulation finds faults: puts each fault into a copy of the core and plays histories against it.

The simulation does not reach the edge to botocore. Mutations there name a file of tests that must fail.

`scripts/mutate.py` checks all mutations, `scripts/mutate.py bisection flag` those with one of these words in their
name. Each must be caught within SEEDS histories (300), and the copy without a fault must pass them. JOBS: number of
mutations to check at a time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SEEDS = int(os.environ.get("SEEDS", "300"))


class Mutation(NamedTuple):
    """One fault to put into the code.

    name: what is wrong then.
    file: path from kplpy/core.
    old, new: a text that the file contains once, and its replacement.
    tests: file of tests that must fail, or SHARES. Without either, a history must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str = ""


SENT_BODY = "tests/unit/aws/test_sent_body.py"
INTERCEPTORS = "tests/unit/aws/test_interceptors.py"
PUT_CALLS = "tests/unit/aws/test_put_calls.py"
HEADERS = "tests/unit/core/test_headers.py"
DELIVERY = "tests/unit/core/test_delivery_stream.py"
SHARES = "shares"  # the program SHARE, which checks how producers share a shard, must fail

MUTATIONS = [
    Mutation(
        "an aggregate counts as delivered if one record is in the shard's range",
        "results/retry_policy.py",
        "or all(map(known.holds",
        "or any(map(known.holds",
    ),
    Mutation(
        "an aggregate counts as delivered on any shard",
        "results/retry_policy.py",
        "    if known is None:\n",
        "    if False:\n",
    ),
    Mutation(
        "the predicted shard is believed instead of the actual one",
        "results/retry_policy.py",
        "known == predicted or",
        "predicted is not None or",
    ),
    Mutation(
        "a failed batch is lost",
        "batching/shard_queue.py",
        "self.closed_batches.insert(place, batch)",
        "pass",
    ),
    Mutation(
        "closed batches of a queue beyond three are lost",
        "batching/shard_queue.py",
        "        self.closed_batches.append(batch)\n",
        "        self.closed_batches.append(batch) if len(self.closed_batches) < 3 else None\n",
    ),
    Mutation(
        "records that wait to be packed are lost",
        "batching/shard_queue.py",
        "            self.add([])\n",
        "            self.few = []\n",
    ),
    Mutation(
        "a queue subtracts a batch's bytes twice",
        "batching/shard_queue.py",
        "self.held_bytes -= payload",
        "self.held_bytes -= 2 * payload",
    ),
    Mutation(
        "no duplicate flag after a lost response",
        "results/responses.py",
        "        if error.maybe_written:\n",
        "        if False:\n",
    ),
    Mutation(
        "no duplicate flag after a wrong shard",
        "results/responses.py",
        "        _note_maybe_written(batch)\n        self.outcomes.retry",
        "        self.outcomes.retry",
    ),
    Mutation(
        "duplicate flag after every error",
        "results/responses.py",
        "        if error.maybe_written:\n",
        "        if True:\n",
    ),
    Mutation(
        "a response with too few entries is accepted",
        "results/responses.py",
        "    if len(entries) != len(request.batches):\n",
        "    if len(entries) > len(request.batches):\n",
    ),
    Mutation(
        "no duplicate flag after a malformed entry",
        "results/responses.py",
        "            _note_maybe_written(batch)\n            failed_too_often",
        "            failed_too_often",
    ),
    Mutation(
        "malformed: a record with malformed entries is retried without end",
        "results/responses.py",
        "_malformed(item) + 1 >= rules.MALFORMED_ATTEMPTS",
        "False",
    ),
    Mutation(
        "malformed: a record fails after its first malformed entry",
        "results/responses.py",
        "_malformed(item) + 1 >= rules.MALFORMED_ATTEMPTS",
        "True",
    ),
    Mutation(
        "malformed: a malformed entry counts as throttled",
        "results/responses.py",
        'entry.get("ErrorCode") or MALFORMED',
        'entry.get("ErrorCode") or THROTTLED',
    ),
    Mutation(
        "malformed: a response with only malformed entries is read entry by entry",
        "results/responses.py",
        '    if any(entry.get("SequenceNumber") or entry.get("ErrorCode") for entry in entries):\n',
        "    if True:\n",
    ),
    Mutation(
        "sent: body_sent is set after the last byte",
        "../aws/sent_body.py",
        "        self._request.body_sent = True\n        yield view[-1:]\n",
        "        yield view[-1:]\n        self._request.body_sent = True\n",
        SENT_BODY,
    ),
    Mutation(
        "sent: body_sent is set with the first byte",
        "../aws/sent_body.py",
        "        self.is_begun = True\n",
        "        self.is_begun = self._request.body_sent = True\n",
        SENT_BODY,
    ),
    Mutation(
        "sent: stubs inside the process see no bytes",
        "../aws/put_calls.py",
        'register_last("before-send",',
        'register_first(f"before-send.{service}.{self.operation}",',
        SENT_BODY,
    ),
    Mutation(
        "sent: a request that a stub inside the process answers counts as not sent",
        "../aws/put_call.py",
        "request.body_sent or is_from_stub",
        "request.body_sent",
        SENT_BODY,
    ),
    Mutation(
        "sent: a refused attempt in CBOR marks the attempt in JSON as sent",
        "../aws/kinesis/transport.py",
        "            call.request.body_sent = False  #",
        "            pass  #",
        SENT_BODY,
    ),
    Mutation(
        "direct: a handler that is registered later is not noticed",
        "../aws/interceptors.py",
        "if lookups is not self._lookups or ",
        "if ",
        INTERCEPTORS,
    ),
    Mutation(
        "direct: a method that is replaced later is not noticed",
        "../aws/interceptors.py",
        " or not all(map(is_, steps, self._steps))",
        "",
        INTERCEPTORS,
    ),
    Mutation(
        "direct: a wrapper with a method's names counts as botocore's",
        "../aws/interceptors.py",
        'function.__globals__.get("__name__")',
        "function.__module__",
        INTERCEPTORS,
    ),
    Mutation(
        "direct: another account keeps the endpoint",
        "../aws/put_calls.py",
        ", *[ask() for ask in self._interceptors.questions])",
        ")",
        PUT_CALLS,
    ),
    Mutation(
        "direct: a request that differs from the client's is sent",
        "../aws/put_calls.py",
        "        if difference is None:\n",
        "        if True:\n",
        INTERCEPTORS,
    ),
    Mutation(
        "direct: the client does not learn what a refused request was signed with",
        "../aws/put_calls.py",
        "        clock.note_offset(response, prepared.context)\n",
        "",
        PUT_CALLS,
    ),
    Mutation(
        "sent: any 4xx counts as a refusal",
        "../aws/errors.py",
        "not 400 <= status < 500 or not code.isidentifier() or _WITHIN_THE_SERVICE.search(code)",
        "not 400 <= status < 500",
        "tests/unit/aws/kinesis/test_transport.py",
    ),
    Mutation(
        "sent: a refusal does not unset the sent mark",
        "../aws/errors.py",
        "sent and not _is_refusal(response, status, own_code)",
        "sent",
        "tests/unit/aws/kinesis/test_transport.py",
    ),
    Mutation(
        "sent: an entry with an error and a sequence number counts as delivered",
        "../aws/kinesis/response.py",
        'if _is_text(number) and code in (None, ""):',
        "if _is_text(number):",
        "tests/unit/aws/kinesis/test_response.py",
    ),
    Mutation(
        "sent: an entry's members may be of any type",
        "../aws/kinesis/response.py",
        'type(entry.get("SequenceNumber")) is str',
        'entry.get("SequenceNumber")',
        "tests/unit/aws/kinesis/test_response.py",
    ),
    Mutation(
        "a refused entry counts as delivered",
        "results/responses.py",
        'if entry.get("SequenceNumber"):',
        'if "SequenceNumber" in entry or batch.aggregated:',
    ),
    Mutation(
        "expired records get a second outcome",
        "results/outcomes.py",
        "        pending = [item for item in batch.items if item not in self._timed_out]\n",
        "        pending = batch.items\n",
    ),
    Mutation(
        "aggregates on an unexplained shard wait without end",
        "results/responses.py",
        "each.until <= now for each",
        "each.until < 0 for each",
    ),
    Mutation(
        "aggregates on an unexplained shard are retried at once",
        "results/responses.py",
        "max(latest, now + rules.MAP_PATIENCE)",
        "now",
    ),
    Mutation(
        "a newer shard map explains no wrong shard",
        "results/responses.py",
        "            known = self._router.map.range_of(actual)\n            landing",
        "            known = None\n            landing",
    ),
    Mutation(
        "placement by the service is not noticed",
        "routing/router.py",
        "if by_key == self.placed_by_service and len(self.map.open) > 1:",
        "if False:",
    ),
    Mutation(
        "the strategy is requested every second",
        "routing/placement.py",
        "now + rules.STRATEGY_POLL * (1 + self._random() / 2)",
        "now + 1",
    ),
    Mutation(
        "a bisection continues on closed shards",
        "results/responses.py",
        "for batch in self.bisection if not batch.queue.alive",
        "for batch in ()",
    ),
    Mutation(
        "attempts are not recorded",
        "results/outcomes.py",
        "        add_attempts(kept.items, attempt)\n",
        "",
    ),
    Mutation(
        "a bad record fails its whole bisection",
        "results/bisection.py",
        "if not expected and self._is_over(only, now) else",
        "if True else",
    ),
    Mutation(
        "a part of a bisected request is lost",
        "results/bisection.py",
        "self._parts[:0] = parts\n",
        "self._parts[:0] = parts[1:]\n",
    ),
    Mutation(
        "an aggregate of one counts without its shard's range after a listing",
        "results/responses.py",
        "len(batch.items) == 1 and not router.map.open and not router.placement.placed_by_service",
        "len(batch.items) == 1",
    ),
    Mutation(
        "a record with headers is sent alone without them",
        "batching/shard_queue.py",
        "            self.payload += len(first.tags)\n            self.aggregated = True",
        "            self.payload += len(first.tags)",
    ),
    Mutation(
        "headers are sent to a service-managed stream",
        "routing/router.py",
        "if self.placed_by_service and item.tags and not self._packs_anywhere:",
        "if False:",
    ),
    Mutation(
        "records with headers stay in the queue when the stream becomes service-managed",
        "routing/router.py",
        "            was_placed_by_service\n            and self.placed_by_service",
        "            self.placed_by_service",
        HEADERS,
    ),
    Mutation(
        "headers are not charged to the buffer",
        "record.py",
        "    return sum([len(item.data) + len(item.partition_key) + len(item.tags) for item in items])",
        "    return sum([len(item.data) + len(item.partition_key) for item in items])",
    ),
    Mutation("an invalid aggregate fails as a whole", "results/bisection.py", "if len(only.items) == 1:", "if True:"),
    Mutation(
        "a bisection loses the records after the one it tries",
        "results/bisection.py",
        "for part in (rest, others) if part]",
        "for part in (others,) if part]",
    ),
    Mutation("an oversized record shares a request", "batching/collector.py", "if size > largest and", "if False and"),
    Mutation("an oversized record is lost", "pipeline.py", "self._responses.oversized(batch, now)", "pass"),
    Mutation(
        "the request limit does not shrink after HTTP 413",
        "size_limits.py",
        "self.request = min(self.request, max(size // 2, rules.LEAST_REQUEST_LIMIT))",
        "pass",
    ),
    Mutation(
        "the same request is retried after HTTP 413",
        "results/retry_policy.py",
        "        return Verdict.TOO_LARGE\n",
        "        return Verdict.RETRY\n",
    ),
    Mutation(
        "throttled requests count as denied",
        "results/retry_policy.py",
        "    return Verdict.RETRY\n",
        "    return Verdict.GRACE\n",
    ),
    Mutation(
        "records fail after the first denied request",
        "results/circuit_breaker.py",
        "now >= self._denied_since + rules.DENIED_GRACE",
        "True",
    ),
    Mutation(
        "no backoff after a failed request",
        "results/circuit_breaker.py",
        "self.not_before = self._within_grace(now, now + backoff(self._failures, self._random()))",
        "self.not_before = now",
    ),
    Mutation(
        "no pause between two probes",
        "results/circuit_breaker.py",
        "max(rules.PROBE_INTERVAL, backoff(self._failures, self._random()))",
        "0.001",
    ),
    Mutation(
        "an outage never ends",
        "results/circuit_breaker.py",
        "self._denied_since = self.not_before = -NEVER",
        "self.not_before = NEVER",
    ),
    Mutation(
        "records expire early",
        "results/outcomes.py",
        "return now - self._policy.waiting_ttl + 1e-6",
        "return now - 0.9 * self._policy.waiting_ttl",
    ),
    Mutation(
        "one record too many in a request",
        "batching/collector.py",
        "len(taken) >= self._policy.collection_max_count",
        "len(taken) > self._policy.collection_max_count",
    ),
    Mutation("a request above its size", "batching/collector.py", " size > space or", " size > 2 * space or"),
    Mutation(
        "a compressed batch that grew is sent",
        "batching/shard_queue.py",
        'return data if len(data) < self.data_size else b""',
        "return data",
    ),
    Mutation(
        "a request that is too large once sealed is sent",
        "results/sealing.py",
        "elif full or (kept and batch.wire_size > space):",
        "elif False:",
    ),
    Mutation(
        "sealed batches keep their estimated sizes",
        "batching/shard_queue.py",
        "self.data_size = len(compressed) or self.uncompressed_size\n        self.wire_size =",
        "self.data_size = len(compressed) or self.uncompressed_size\n        _ =",
    ),
    Mutation(
        "a misplaced compressed batch is delivered in ordered mode",
        "batching/shard_queue.py",
        "return not self._sealed or self.queue.ordered",
        "return not self._sealed",
    ),
    Mutation(
        "what estimates paid is not corrected",
        "results/sealing.py",
        "            queue.limiter.correct(-size)\n",
        "            pass\n",
        tests="tests/unit/core/results/test_sealing.py",
    ),
    Mutation("no tokens are taken", "batching/collector.py", "                limiter.pay(size)\n", ""),
    Mutation(
        "queues that wait for tokens are not woken",
        "batching/collector.py",
        "self._blocked[0][0] <= now:",
        "self._blocked[0][0] < 0:",
    ),
    Mutation("the envelope is not counted", "../wire/encode.py", "self.size = ENVELOPE", "self.size = 0"),
    Mutation(
        "a shard's range ends too early",
        "shard_range.py",
        "self.start <= hash_key <= self.end",
        "self.start <= hash_key < self.end // 2",
    ),
    Mutation(
        "the neighbouring shard is predicted",
        "routing/hash_key_ranges.py",
        "groups[index].append",
        "groups[index - 1].append",
    ),
    Mutation(
        "the neighbouring shard is predicted if several shards share a first byte",
        "routing/hash_key_ranges.py",
        "index = bisect_left(ends, hash_key)  #",
        "index = bisect_left(ends, hash_key) - 1  #",
    ),
    Mutation(
        "the first byte is used if several shards share it",
        "routing/shard_map.py",
        "return index if index == bisect_left(self.ends, last) else -1",
        "return index",
    ),
    Mutation(
        "the neighbouring shard is predicted for a few records",
        "routing/hash_key_ranges.py",
        "queues[bisect_left(ends, hash_key)]",
        "queues[bisect_left(ends, hash_key) - 1]",
    ),
    Mutation(
        "a recreated stream counts as the old stream",
        "routing/shard_map.py",
        "return ended - self._alive_at < policy.RECREATION_TIME",
        "return True",
    ),
    Mutation(
        "a wrong shard does not invalidate the shard map",
        "routing/shard_map.py",
        "        if not self.ready or seen_at <= self.updated_at:\n",
        "        if True:\n",
    ),
    Mutation(
        "no record is sent alone without a shard map",
        "routing/router.py",
        "        if self.map_missing_since is None or self.waits_for_map(now):\n            return\n",
        "        return\n",
    ),
    Mutation(
        "a flush counts one record too many",
        "flush_tracker.py",
        "bisect_right(marks, item.number)",
        "bisect_right(marks, item.number - 1)",
    ),
    Mutation(
        "a flush closes nothing",
        "pipeline.py",
        "        self._flushes.add_mark(self._next_number, self.outstanding)\n        self._collector.close_all(now)\n",
        "        self._flushes.add_mark(self._next_number, self.outstanding)\n",
    ),
    Mutation(
        "giving up loses the records in flight",
        "pipeline.py",
        "self._responses.fail_in_flight(self._in_flight, reason, message)",
        "self._responses.fail_in_flight([], reason, message)",
    ),
    Mutation(
        "ordered: two batches of a shard in flight",
        "batching/shard_queue.py",
        "self.hold_back(batch.items[0].hash_key)",
        "pass",
    ),
    Mutation("ordered: newer records overtake a retried batch", "ordering.py", "batch.queue.held_back = True", "pass"),
    Mutation(
        "ordered: a new shard does not wait for the shard before it",
        "ordering.py",
        "successor.hold_back(item.hash_key)",
        "pass",
    ),
    Mutation(
        "ordered: retried records go behind newer records",
        "routing/router.py",
        "if self._policy.ordered and items:",
        "if False:",
    ),
    Mutation(
        "ordered: a bisection continues after a failed record",
        "results/outcomes.py",
        "        if kept.queue.ordered:  #",
        "        if False:  #",
    ),
    Mutation(
        "ordered: a bisection sends several parts at once",
        "results/bisection.py",
        "if not queues & waiting:",
        "if True:",
    ),
    Mutation(
        "ordered: a bisection does not wait for batches in flight",
        "pipeline.py",
        "return {batch.queue for batch in [*self._batches_in_flight(), *judged]",
        "return {batch.queue for batch in judged",
    ),
    Mutation(
        "delivery: joined records exceed their size by one record",
        "batching/joined.py",
        "            if size > max_size:\n                break\n            sizes.append(n)\n",
        "            sizes.append(n)\n            if size > max_size:\n                break\n",
        DELIVERY,
    ),
    Mutation(
        "delivery: the partition key counts for the request",
        "batching/joined.py",
        "batch.data_size = batch.wire_size = len(item.data)",
        "batch.data_size = batch.wire_size = len(item.data) + len(item.partition_key)",
        DELIVERY,
    ),
    Mutation(
        "delivery: a request that is throttled as a whole is an outage",
        "results/responses.py",
        "if error.code in self._throttled and not self._policy.has_shards:",
        "if False:",
        DELIVERY,
    ),
    Mutation(
        "delivery: an invalid request is sent again as a whole, because it has no keys",
        "routing/delivery_router.py",
        "        return False\n",
        "        return super().keys_are_refused(batches, now)\n",
        DELIVERY,
    ),
    Mutation(
        "delivery: a missing stream makes records wait for a shard map",
        "routing/delivery_router.py",
        '        """Do nothing, because a delivery stream that is made again is like the one before."""\n',
        "        super().stream_missing(now)\n",
        DELIVERY,
    ),
    Mutation(
        "delivery: the rate after the first refusal is what doubling had reached",
        "batching/quota_limiter.py",
        "min(self.scale_at(now), self.shards)",
        "self.scale_at(now)",
        "tests/unit/core/batching/test_quota_limiter.py",
    ),
]

RATES = [
    Mutation(
        "the larger share does not decrease more",
        "batching/limiter.py",
        "max(policy.DECREASE_LEAST, policy.DECREASE_BY_SHARE * (share - policy.DECREASE_FROM))",
        "policy.DECREASE_LEAST",
        tests=SHARES,
    ),
    Mutation(
        "a producer with nearly all capacity does not decrease",
        "batching/limiter.py",
        "part = policy.ALONE_DECREASE\n",
        "part = 0.0\n",
        tests=SHARES,
    ),
    Mutation(
        "a lone producer decreases as if it shared the shard",
        "batching/limiter.py",
        "self._alone = calm and",
        "self._alone = False and",
        tests=SHARES,
    ),
    Mutation(
        "each throttled request causes a decrease",
        "batching/limiter.py",
        "if (self._settled or self._alone) and started < self._decreased_at + policy.DECREASE_INTERVAL:",
        "if False:",
        tests=SHARES,
    ),
    Mutation(
        "freed capacity is used at the initial speed",
        "batching/limiter.py",
        "(calm + policy.INCREASE_FASTER * over**3)",
        "calm",
        tests=SHARES,
    ),
    Mutation(
        "the first overload causes only small decreases",
        "batching/limiter.py",
        "part = min(max(part, refused), policy.DECREASE_MOST)",
        "pass",
        tests=SHARES,
    ),
    Mutation(
        "many producers probe as fast as few",
        "batching/limiter.py",
        "calm *= slower\n",
        "calm *= 1\n",
        tests=SHARES,
    ),
]

PLAY = """
import sys
sys.path.insert(0, ".")
import kplpy.core.pipeline as core
assert core.__file__.startswith({root!r}), core.__file__
from tests.simulation.run import play_all
for seed in range({seeds}):
    found = play_all([seed])
    if found.failures:
        print(seed, found.failures[0][1][:150])
        sys.exit(1)
"""

SHARE = """
import sys
sys.path.insert(0, ".")
import kplpy.core.batching.limiter as core
assert core.__file__.startswith({root!r}), core.__file__
from tests.core_helpers import policy
from tests.simulation.rates import Rates

def run(seed, **load):
    return Rates(policy(), shards=1, offered=1.0, record_size=10_180, seed=seed, **load).run()

def check(name, value, least):
    if value < least:
        print(f"{{name}} {{value:.2f}}")
        sys.exit(1)

seeds = range(1, 9)
check("calm start", -sum(run(n, producers=8, seconds=7.0).throttled(4, 6) for n in range(1, 5)) / 4, -0.15)
windows = [run(n, windows=True, seconds=40.0) for n in range(1, 5)]
check("fixed windows", sum(each.goodput for each in windows) / 4, 0.94)
leavers = [run(n, producers=2, seconds=30.0, leaves=(15.0,)) for n in seeds]
check("freed capacity", sum(each.taken(20, 23) for each in leavers) / 8, 0.96)
check("calm eight", -sum(run(n, producers=8, seconds=40.0).throttled(25, 40) for n in range(1, 5)) / 4, -0.2)
for load in ({{"producers": 2}}, {{"producers": 3}}, {{"producers": 2, "joins": (0.0, 15.3)}}):
    runs = [run(n, seconds=40.0, **load) for n in range(1, 11)]
    check("calm", -sum(each.throttled(10, 40) for each in runs) / 10, -0.07)
    check("worst share", min(each.least_share() for each in runs), 0.55)
"""


def copy_project(where: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("kplpy", "tests"):
        shutil.copytree(ROOT / folder, where / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", where)


def play(mutation: Mutation | None, tests: str = "") -> tuple[bool, str]:
    """Return if a history or a test failed, and the text about the failure."""
    with tempfile.TemporaryDirectory(prefix="kplpy-mutation-") as name:
        where = Path(name).resolve()
        copy_project(where)
        if mutation is not None:
            tests = mutation.tests
            file = where / "kplpy/core" / mutation.file
            text = file.read_text()
            if text.count(mutation.old) != 1:
                return False, f"OUT OF DATE: {text.count(mutation.old)} places for {mutation.old!r}"
            file.write_text(text.replace(mutation.old, mutation.new))
        command = ["-c", (SHARE if tests == SHARES else PLAY).format(root=str(where), seeds=SEEDS)]
        if tests not in ("", SHARES):
            command = ["-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", tests]
        environment = {**os.environ, "PYTHONPATH": str(where), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["KPLPY_ACCELERATOR"] = "no"  # the faults are put into the Python twins
        # The timeout ends the histories of a core that runs without end.
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=where, env=environment, capture_output=True, text=True, timeout=1200, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return True, "it ran without end"
        text = " ".join((done.stdout.strip() or done.stderr.strip()).split())
        if tests not in ("", SHARES) and done.returncode not in (0, 1):
            raise RuntimeError(f"{tests} cannot be run: {text[-300:]}")
        return done.returncode != 0, text[-300:]


def main(words: list[str]) -> int:
    chosen = [each for each in [*MUTATIONS, *RATES] if not words or any(word in each.name for word in words)]
    started = time.monotonic()
    missed = 0
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "0")) or os.cpu_count() or 2) as pool:
        checks = ["", *sorted({each.tests for each in chosen} - {""})]
        controls = [pool.submit(play, None, check) for check in checks]
        for mutation, (caught, how) in zip(chosen, pool.map(play, chosen), strict=True):
            missed += not caught
            print(
                f"{'caught' if caught else 'MISSED'}  {mutation.name}: {'' if mutation.tests else 'seed '}{how}",
                flush=True,
            )
        results = [control.result() for control in controls]
    for check, (failed, how) in zip(checks, results, strict=True):
        print(f"control {'FAILS: ' + how if failed else 'passes'}: {check or f'{SEEDS} histories'} without a fault")
    print(f"{len(chosen) - missed} of {len(chosen)} caught in {time.monotonic() - started:.0f} s")
    return 1 if missed or any(failed for failed, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
