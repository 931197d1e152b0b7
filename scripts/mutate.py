"""Does the simulation notice? Puts one fault after the other into a copy of the core and plays histories against it.

What the simulation does not reach, the edge to botocore, is judged by the tests that its mutations name.

`scripts/mutate.py` checks all of them, `scripts/mutate.py bisection flag` those whose name holds one of these words.
Each must be caught within SEEDS histories (200), and the unmutated copy must pass them. JOBS: how many at a time.
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
SEEDS = int(os.environ.get("SEEDS", "200"))


class Mutation(NamedTuple):
    name: str
    file: str  # from kplpy/core on
    old: str
    new: str
    tests: str = ""  # a file of tests that must fail, or SHARES; without one, a history must


SENT_BODY = "tests/unit/aws/kinesis/test_sent_body.py"
SHARES = "shares"  # seen by how producers share a shard: SHARE must fail

MUTATIONS = [
    Mutation(
        "one fitting record is enough for an aggregate",
        "results/retry_policy.py",
        "or all(map(known.holds",
        "or any(map(known.holds",
    ),
    Mutation(
        "an aggregate is believed wherever it lands",
        "results/retry_policy.py",
        "    if known is None:\n",
        "    if False:\n",
    ),
    Mutation(
        "what was predicted is believed, whatever took it",
        "results/retry_policy.py",
        "known == predicted or",
        "predicted is not None or",
    ),
    Mutation(
        "a failed batch is not queued again",
        "batching/shard_queue.py",
        "self.closed_batches.insert(place, batch)",
        "pass",
    ),
    Mutation(
        "a closed batch is forgotten by the collector",
        "batching/shard_queue.py",
        "        self.closed_batches.append(batch)\n",
        "        self.closed_batches.append(batch) if len(self.closed_batches) < 3 else None\n",
    ),
    Mutation(
        "a few that wait to be packed are forgotten",
        "batching/shard_queue.py",
        "            self.add([])\n",
        "            self.few = []\n",
    ),
    Mutation(
        "room is given back twice",
        "batching/shard_queue.py",
        "self.held_bytes -= payload",
        "self.held_bytes -= 2 * payload",
    ),
    Mutation(
        "no duplicate flag after a lost answer",
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
        "the duplicate flag after every error",
        "results/responses.py",
        "        if error.maybe_written:\n",
        "        if True:\n",
    ),
    Mutation(
        "answers of the wrong length are read as far as they go",
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
        "malformed: what was answered so is sent again and again",
        "results/responses.py",
        "_malformed(item) + 1 >= rules.MALFORMED_ATTEMPTS",
        "False",
    ),
    Mutation(
        "malformed: a record is given up at its first such answer",
        "results/responses.py",
        "_malformed(item) + 1 >= rules.MALFORMED_ATTEMPTS",
        "True",
    ),
    Mutation(
        "malformed: such an entry counts as refused",
        "results/responses.py",
        'entry.get("ErrorCode") or MALFORMED',
        'entry.get("ErrorCode") or THROTTLED',
    ),
    Mutation(
        "malformed: an answer of nothing else is read entry by entry",
        "results/responses.py",
        '    if any(entry.get("SequenceNumber") or entry.get("ErrorCode") for entry in entries):\n',
        "    if True:\n",
    ),
    Mutation(
        "sent: the mark comes after the last byte",
        "../aws/kinesis/sent_body.py",
        "        self._request.body_sent = True\n        yield view[-1:]\n",
        "        yield view[-1:]\n        self._request.body_sent = True\n",
        SENT_BODY,
    ),
    Mutation(
        "sent: the mark comes with the first byte",
        "../aws/kinesis/sent_body.py",
        "        self.is_begun = True\n",
        "        self.is_begun = self._request.body_sent = True\n",
        SENT_BODY,
    ),
    Mutation(
        "sent: stubs within the process see no bytes",
        "../aws/kinesis/transport.py",
        'register_last("before-send",',
        'register_first("before-send.kinesis.PutRecords",',
        SENT_BODY,
    ),
    Mutation(
        "sent: what a stub within the process answers was not sent",
        "../aws/kinesis/transport.py",
        "request.body_sent or answered_here",
        "request.body_sent",
        SENT_BODY,
    ),
    Mutation(
        "sent: a refused attempt in CBOR counts for the one in JSON",
        "../aws/kinesis/transport.py",
        "            request.body_sent = False  #",
        "            pass  #",
        SENT_BODY,
    ),
    Mutation(
        "sent: any 4xx is a refusal",
        "../aws/errors.py",
        "not 400 <= status < 500 or not code.isidentifier() or _WITHIN_THE_SERVICE.search(code)",
        "not 400 <= status < 500",
        "tests/unit/aws/kinesis/test_transport.py",
    ),
    Mutation(
        "sent: an answer undoes nothing",
        "../aws/errors.py",
        "sent and not _is_refusal(answer, status, said)",
        "sent",
        "tests/unit/aws/kinesis/test_transport.py",
    ),
    Mutation(
        "sent: an entry with an error and a sequence number counts as taken",
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
        "a refused entry counts as taken",
        "results/responses.py",
        'if entry.get("SequenceNumber"):',
        'if "SequenceNumber" in entry or batch.aggregated:',
    ),
    Mutation(
        "records that timed out are answered again",
        "results/outcomes.py",
        "        pending = [item for item in batch.items if item not in self._timed_out]\n",
        "        pending = batch.items\n",
    ),
    Mutation(
        "unexplained aggregates wait for ever",
        "results/responses.py",
        "each.until <= now for each",
        "each.until < 0 for each",
    ),
    Mutation(
        "unexplained aggregates are sent again at once",
        "results/responses.py",
        "max(latest, now + rules.MAP_PATIENCE)",
        "now",
    ),
    Mutation(
        "a fresh listing explains nothing",
        "results/responses.py",
        "            known = self._router.map.range_of(actual)\n            landing",
        "            known = None\n            landing",
    ),
    Mutation(
        "nobody looks where records land",
        "routing/router.py",
        "if by_key == self.placed_by_service and len(self.map.open) > 1:",
        "if False:",
    ),
    Mutation(
        "the strategy is asked for time and again",
        "routing/placement.py",
        "now + rules.STRATEGY_POLL * (1 + self._random() / 2)",
        "now + 1",
    ),
    Mutation(
        "a hunt goes on in closed shards",
        "results/responses.py",
        "for batch in self.bisection if not batch.queue.alive",
        "for batch in ()",
    ),
    Mutation(
        "attempts are not noted",
        "results/outcomes.py",
        "        add_attempts(kept.items, attempt)\n",
        "",
    ),
    Mutation(
        "a bad record takes along all that is hunted",
        "results/bisection.py",
        "if not expected and self._is_over(only, now) else",
        "if True else",
    ),
    Mutation(
        "a part of an invalid request is lost",
        "results/bisection.py",
        "self._parts[:0] = parts\n",
        "self._parts[:0] = parts[1:]\n",
    ),
    Mutation("an invalid aggregate is failed whole", "results/bisection.py", "if not only.aggregated:", "if True:"),
    Mutation(
        "the records behind one that a hunt tries are lost",
        "results/bisection.py",
        "for part in (rest, others) if part]",
        "for part in (others,) if part]",
    ),
    Mutation("an oversized record shares a request", "batching/collector.py", "if size > largest:", "if False:"),
    Mutation("an oversized record is forgotten", "pipeline.py", "self._responses.oversized(batch, now)", "pass"),
    Mutation(
        "requests stay as large as they are after HTTP 413",
        "size_limits.py",
        "self.request = min(self.request, max(size // 2, rules.LEAST_REQUEST_LIMIT))",
        "pass",
    ),
    Mutation(
        "HTTP 413 has the same request sent again",
        "results/retry_policy.py",
        "        return Verdict.TOO_LARGE\n",
        "        return Verdict.RETRY\n",
    ),
    Mutation(
        "throttled requests are denied ones",
        "results/retry_policy.py",
        "    return Verdict.RETRY\n",
        "    return Verdict.GRACE\n",
    ),
    Mutation(
        "denied once is denied for good",
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
    Mutation("a request above its size", "batching/collector.py", "(size > space or", "(size > 2 * space or"),
    Mutation("no tokens are taken", "batching/collector.py", "                limiter.pay(size)\n", ""),
    Mutation(
        "lanes that wait for tokens are not woken",
        "batching/collector.py",
        "self._blocked[0][0] <= now:",
        "self._blocked[0][0] < 0:",
    ),
    Mutation("the envelope is not counted", "../wire/encode.py", "self.size = ENVELOPE", "self.size = 0"),
    Mutation(
        "the last shard's end is left out",
        "shard_range.py",
        "self.start <= hash_key <= self.end",
        "self.start <= hash_key < self.end // 2",
    ),
    Mutation(
        "the neighbour is predicted",
        "routing/grouping.py",
        "groups[index].append",
        "groups[index - 1].append",
    ),
    Mutation(
        "the neighbour is predicted where several shards share a first byte",
        "routing/grouping.py",
        "index = bisect_left(ends, hash_key)  #",
        "index = bisect_left(ends, hash_key) - 1  #",
    ),
    Mutation(
        "the first byte is believed where it does not decide",
        "routing/shard_map.py",
        "return index if index == bisect_left(self.ends, last) else -1",
        "return index",
    ),
    Mutation(
        "the neighbour is predicted for a few",
        "routing/grouping.py",
        "queues[bisect_left(ends, hash_key)]",
        "queues[bisect_left(ends, hash_key) - 1]",
    ),
    Mutation(
        "a recreated stream is taken for the old one",
        "routing/shard_map.py",
        "return ended - self._alive_at < policy.RECREATION_TIME",
        "return True",
    ),
    Mutation(
        "no invalidation after a wrong shard",
        "routing/shard_map.py",
        "        if not self.ready or seen_at <= self.updated_at:\n",
        "        if True:\n",
    ),
    Mutation(
        "nobody goes alone without a map",
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
        "giving up forgets what is under way",
        "pipeline.py",
        "self._responses.fail_in_flight(self._batches_in_flight(), reason, message)",
        "self._responses.fail_in_flight([], reason, message)",
    ),
    Mutation(
        "ordered: two under way for one shard",
        "batching/shard_queue.py",
        "self.hold_back(batch.items[0].hash_key)",
        "pass",
    ),
    Mutation("ordered: what came back is overtaken", "ordering.py", "batch.queue.held_back = True", "pass"),
    Mutation(
        "ordered: the next shard does not wait for the one before",
        "ordering.py",
        "successor.hold_back(item.hash_key)",
        "pass",
    ),
    Mutation(
        "ordered: resent records go behind later ones",
        "routing/router.py",
        "if self._policy.ordered and items:",
        "if False:",
    ),
    Mutation(
        "ordered: a hunt goes on past what failed",
        "results/outcomes.py",
        "        if kept.queue.ordered:  #",
        "        if False:  #",
    ),
    Mutation(
        "ordered: a hunt sends several parts at once",
        "results/bisection.py",
        "if not queues & waiting:",
        "if True:",
    ),
    Mutation(
        "ordered: a hunt does not wait for what is under way",
        "pipeline.py",
        "return {batch.queue for batch in [*self._batches_in_flight(), *judged]",
        "return {batch.queue for batch in judged",
    ),
]

RATES = [
    Mutation(
        "the larger share gives up no larger part",
        "batching/limiter.py",
        "max(policy.DECREASE_LEAST, policy.DECREASE_BY_SHARE * (share - policy.DECREASE_FROM))",
        "policy.DECREASE_LEAST",
        tests=SHARES,
    ),
    Mutation(
        "who takes nearly all never yields",
        "batching/limiter.py",
        "part = policy.ALONE_DECREASE\n",
        "part = 0.0\n",
        tests=SHARES,
    ),
    Mutation(
        "a lone producer gives up its share",
        "batching/limiter.py",
        "self._alone = calm and",
        "self._alone = False and",
        tests=SHARES,
    ),
    Mutation(
        "each refusal is an overload of its own",
        "batching/limiter.py",
        "if (self._settled or self._alone) and started < self._decreased_at + policy.DECREASE_INTERVAL:",
        "if False:",
        tests=SHARES,
    ),
    Mutation(
        "freed capacity is taken at the first pace",
        "batching/limiter.py",
        "(calm + policy.INCREASE_FASTER * over**3)",
        "calm",
        tests=SHARES,
    ),
    Mutation(
        "a first overload is met in small steps",
        "batching/limiter.py",
        "part = min(max(part, refused), policy.DECREASE_MOST)",
        "pass",
        tests=SHARES,
    ),
    Mutation(
        "many that share probe as fast as few",
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
    """Did a history, or one of the tests, fail, and which, how."""
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
        # The histories of a core that never ends are ended.
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=where, env=environment, capture_output=True, text=True, timeout=1200, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return True, "it never ended"
        text = " ".join((done.stdout.strip() or done.stderr.strip()).split())
        if tests not in ("", SHARES) and done.returncode not in (0, 1):
            raise RuntimeError(f"{tests} cannot be run: {text[-300:]}")
        return done.returncode != 0, text[-300:]


def main(words: list[str]) -> int:
    chosen = [each for each in [*MUTATIONS, *RATES] if not words or any(word in each.name for word in words)]
    started = time.monotonic()
    missed = 0
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "0")) or os.cpu_count() or 2) as pool:
        judges = ["", *sorted({each.tests for each in chosen} - {""})]
        controls = [pool.submit(play, None, judge) for judge in judges]
        for mutation, (caught, how) in zip(chosen, pool.map(play, chosen), strict=True):
            missed += not caught
            print(
                f"{'caught' if caught else 'MISSED'}  {mutation.name}: {'' if mutation.tests else 'seed '}{how}",
                flush=True,
            )
        results = [control.result() for control in controls]
    for judge, (failed, how) in zip(judges, results, strict=True):
        print(
            f"control {'FAILS: ' + how if failed else 'passes'}: {judge or f'{SEEDS} histories'} of the core as it is"
        )
    print(f"{len(chosen) - missed} of {len(chosen)} caught in {time.monotonic() - started:.0f} s")
    return 1 if missed or any(failed for failed, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
