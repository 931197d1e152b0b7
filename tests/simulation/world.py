"""One history: the core and a modelled Kinesis, connected by events on a virtual clock.

Events do here what runtime/ does with threads. A free sender runs when next_wakeup() says so, the scheduler ticks at
the time that next_wakeup() returns, and outcomes are settled a little after they were taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.outcome import Completion, Delivered, Failed, Reason
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import LEAST_REQUEST_LIMIT, REQUEST_LIMIT_GROWTH, STRATEGY_POLL
from kplpy.core.record import NO_HASH_KEY, PLACEHOLDER, PendingRecord
from kplpy.core.results.retry_policy import MALFORMED, NOT_FOUND, TOO_LARGE
from kplpy.core.routing.placement import AUTO, BY_KEY, Summary
from kplpy.core.shard_range import ShardRange
from kplpy.hash_keys import HashKeys
from kplpy.local.model.errors import ServiceError
from kplpy.local.model.faults import Fault
from kplpy.local.model.limits import Limits, Phases
from kplpy.local.model.model import Model
from kplpy.local.model.stream import Stream
from kplpy.wire.compressed import header_size, unpack_batch
from kplpy.wire.encode import Packing, encode_aggregate
from kplpy.wire.tags import encode_tags
from tests.inside import in_flight_of
from tests.simulation.knowledge import Knowledge, Landed
from tests.simulation.scenario import MAX_HASH, NEVER, Change, Scenario

NAME = "orders"
EPOCH = 1.8e9  # Unix time at the start
CORE = 5000.0  # the core's clock at the start
POISON = b"POISON"
OVERSIZE = (1 << 20) + 50_000
DENIED = {"AccessDeniedException", "KMSDisabledException", "ResourceNotFoundException", MALFORMED}
PAD = bytes(2 << 20)
NOISE = Random(0).randbytes(4 << 20)


class Violation(AssertionError):
    """An invariant does not hold."""


class Record(PendingRecord):
    """A user record, with what the world knows about it.

    ambiguous: a request that held the record ended without saying whether the record was written
    off_shard: an aggregate with the record was accepted on another shard than predicted
    sent: number of requests that held the record
    malformed: number of responses whose entry for the record was malformed
    """

    __slots__ = (
        "ambiguous",
        "completed_at",
        "completion",
        "ident",
        "keyless",
        "malformed",
        "off_shard",
        "poisoned",
        "sent",
        "size",
        "tags",
    )

    def __init__(
        self,
        ident: int,
        data: bytes,
        key: str,
        explicit: str | None,
        hash_key: int,
        arrival: float,
        headers: dict[str, str | None] | None = None,
    ) -> None:
        self.ident = ident
        self.data = data
        self.partition_key = key
        self.explicit_hash_key = explicit
        self.hash_key = hash_key
        self.arrival = arrival
        self.tries = ()
        self.maybe_written = False
        self.tags = encode_tags(headers or {})
        self.size = len(data) + len(key) + len(self.tags)
        self.keyless = hash_key == NO_HASH_KEY
        self.completion: Completion | None = None
        self.completed_at = NEVER
        self.ambiguous = False
        self.off_shard = False
        self.poisoned = False
        self.sent = 0
        self.malformed = 0


class World:
    """Runs a scenario to its end. `pipeline` is the core under test."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now = CORE
        self.random = Random(scenario.seed * 7 + 1)
        self.faults_random = Random(scenario.seed * 7 + 2)
        full = Limits()
        self.model = Model(
            limits=Limits(
                shard_records_per_second=(full.shard_records_per_second or 0) * scenario.capacity,
                shard_bytes_per_second=(full.shard_bytes_per_second or 0) * scenario.capacity,
                rate_form="window" if scenario.windows else "bucket",
                update_shard_count_factor=False,
            ),
            phases=Phases(updating=scenario.updating, deleting=10.0),
            keep_deleted=True,
            random=Random(scenario.seed * 7 + 3),
        )
        kind: dict[str, Any] = {"ShardCount": scenario.shards}
        if scenario.on_demand:
            kind = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
        self.model.handle("CreateStream", {"StreamName": NAME, **kind}, self.wall)
        self.model.faults.plan = self._fault
        self.pipeline = Pipeline(scenario.policy, Random(scenario.seed * 7 + 4).random)
        self.records: list[Record] = []
        self.accepted: list[Record] = []  # in the order of their numbers
        self.settled: set[int] = set()
        self.event_counts: Counter[str] = Counter()
        self.requests = 0
        self.calls = 0
        self.answered = 0
        self.denied_since = NEVER
        self._last_was_denial = False
        self._denial_periods: list[tuple[float, float]] = []  # first and last denial of each uninterrupted series
        self.denied_for: dict[int, float] = {}  # how long the service had denied everything when a record failed
        self.knowledge = Knowledge()
        self.landed: dict[Batch, Landed] = {}  # where aggregates landed, by the responses
        # The stream's incarnation and its next shard index when an aggregate last landed on an unpredicted shard.
        self.reshards_seen = (0, 0)
        self.misplaced_at = NEVER
        self._shows_by_chance = False
        self._failing: list[float] = []  # start times of the requests that failed since the last success
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()
        self._busy = 0
        self._inflight_bytes = 0.0
        self._visit_at = NEVER
        self._described_at = -NEVER
        # The stream's record limit that the producer last received, and when the producer asked for it.
        self._known_limit = (0, -NEVER)
        self._largest_accepted = 0
        self._request_limit = (NEVER, -NEVER)  # half of the size that got HTTP 413, and when the last 413 came
        self.sent_without_map = False  # a record was sent before its shard, and so its shard's limit, was known
        self._only_sender_kept = False  # a slow DescribeStreamSummary occupied the only sender
        self._idle_visits = 0
        self._flushes: list[tuple[int, float]] = []
        self._stale: tuple[int, list[ShardRange]] | None = None
        self._given_up = False

    @property
    def wall(self) -> float:
        return self.now - CORE + EPOCH

    def overloaded(self) -> bool:
        """Return True if the load may at some time exceed what one shard or the senders can carry."""
        load, policy = self.scenario.load, self.scenario.policy
        if policy.collection_max_count < 20 or policy.collection_max_size < 1e6 or self.scenario.inflight_bytes < NEVER:
            return True  # the senders may be too slow for such small requests
        if self._only_sender_kept:
            return True
        if policy.ordered and (not policy.aggregate or policy.aggregation_max_count < 100):
            return True  # each shard gets only a few records at a time
        size = sum(record.size for record in self.records if not record.poisoned)  # poisoned records cost no tokens
        rate = min(1.0, self.scenario.policy.rate)
        spread = 2.0 if load.pattern == "bursts" else load.seconds / 4
        return size / spread > 0.5 * rate * (1 << 20) or len(self.records) / spread > 500 * rate

    # --- running ---

    def run(self) -> World:
        self._schedule_load()
        scenario = self.scenario
        for at, change in scenario.changes:
            self._at(CORE + at, self._changer(change))
        for at in scenario.flushes:
            self._at(CORE + at, self._flush)
        for at in scenario.room_calls:
            self._at(CORE + at, self._make_room)
        for trouble in scenario.troubles:
            if trouble.kind == "listing_stale":
                self._at(CORE + trouble.start, self._begin_stale)
                self._at(CORE + trouble.end, self._end_stale)
        if scenario.gives_up_at < NEVER:
            self._at(CORE + scenario.gives_up_at, self._give_up)
        over = max([scenario.load.seconds, *(trouble.end for trouble in scenario.troubles)])
        ttl = scenario.policy.waiting_ttl
        self._at(CORE + over + 1.0, self._flush)
        self._deadline = CORE + over + (ttl if ttl < NEVER else 120.0) + 120.0
        self._deadline += 2 * scenario.load.seconds  # the load may be up to twice what one shard accepts
        while self._events:
            at, _, event = heappop(self._events)
            if at > self._deadline and self.pipeline.outstanding == 0:
                break
            if at > self._deadline + 200.0:
                raise Violation(f"{self.pipeline.outstanding} records are outstanding long after the last trouble")
            self.now = at
            event()
        return self

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heappush(self._events, (max(at, self.now), next(self._serial), event))

    # --- load ---

    def _schedule_load(self) -> None:
        load, random = self.scenario.load, Random(self.scenario.seed * 7 + 5)
        keys = [f"key-{number}" for number in range(random.choice((3, 30, 3000)))]
        keys[0] = random.choice(("key-0", "Ωmega", "k" * 250))
        explicit_keys = [str(random.randint(0, MAX_HASH)) for _ in range(random.choice((3, 30, 3000)))]
        headers_random = Random(f"headers of {self.scenario.seed}")
        hashes = HashKeys()
        noises = Random(self.scenario.seed * 7 + 8)
        times = sorted(self._times(random))
        poison = any(trouble.kind == "poison" for trouble in self.scenario.troubles)
        group: list[Record] = []
        for ident, at in enumerate(times):
            if load.keys == "uniform":
                key = random.choice(keys)
            elif load.keys == "skewed":
                key = keys[min(int(random.paretovariate(1.0)) - 1, len(keys) - 1)]
            else:
                key = keys[0] if random.random() < 0.9 else random.choice(keys)
            size = random.randint(*load.sizes)
            if random.random() < load.large_share:
                size = random.randint(50_000, 300_000)
            size = int(size * min(1.0, self.scenario.budget / load.expected_bytes))
            if ident in self._oversized():
                size = OVERSIZE
            poisoned = poison and random.random() < 0.01
            head = ident.to_bytes(6, "big") + (POISON if poisoned else b"")
            explicit = random.choice(explicit_keys) if random.random() < load.explicit_share else None
            hash_key = int(explicit) if explicit is not None else hashes.compute(key)
            if random.random() < load.keyless_share:
                key, explicit, hash_key = PLACEHOLDER, None, NO_HASH_KEY
            noise = min(size, int(size * self.scenario.noise * noises.random()))  # bytes that do not compress
            place = noises.randrange(len(NOISE) - noise)
            body = NOISE[place : place + noise] + PAD[: size - noise]
            data = head + body[: max(0, size - len(head))]
            headers = None
            if headers_random.random() < load.headers_share:
                headers = {"ident": str(ident), "flag": None, "é" * headers_random.choice((1, 100)): ""}
            record = Record(ident, data, key, explicit, hash_key, CORE + at, headers)
            record.poisoned = poisoned or len(record.data) > 1 << 20
            self.records.append(record)
            group.append(record)
            # Records are staged for a moment, and then accepted together.
            following = times[ident + 1] if ident + 1 < len(times) else NEVER
            if len(group) >= load.batch or following > group[0].arrival - CORE + 0.003:
                self._at(CORE + at, self._acceptor(group))
                group = []
        if group:
            self._at(group[-1].arrival, self._acceptor(group))

    def _oversized(self) -> range:
        """Return the idents of the records above the stream's limit."""
        load, count = self.scenario.load, self.scenario.load.oversized
        if load.oversize:
            return range(load.records // 2, load.records // 2 + 1)
        return range(3, load.records, max(1, load.records // count)) if count else range(0)

    def _times(self, random: Random) -> Iterator[float]:
        load = self.scenario.load
        moments = [random.uniform(0, load.seconds) for _ in range(8)]
        for _ in range(load.records):
            if load.pattern == "bursts":
                yield min(load.seconds, random.choice(moments) + random.uniform(0, 0.3))
            else:
                at = random.uniform(0, load.seconds)
                # In every thirty seconds there are fifteen without a record.
                yield at if load.pattern == "steady" or at % 30 < 15 else at - 15

    def _acceptor(self, group: list[Record]) -> Callable[[], None]:
        def accept() -> None:
            if self._given_up:
                for record in group:
                    self.records.remove(record)
                return
            self.accepted += group
            self.calls += 1
            self.pipeline.accept(group, self.now)
            if [record.number for record in group] != list(range(len(self.accepted) - len(group), len(self.accepted))):
                raise Violation("acceptance numbers are not consecutive")
            self._plan()

        return accept

    # --- what the engine does ---

    def _plan(self) -> None:
        wake_at = self.pipeline.next_wakeup(self.now)
        if wake_at == NEVER and self.answered < len(self.accepted):
            raise Violation("records are outstanding, and next_wakeup() never comes")
        if wake_at <= self.now:
            if self._busy < self.scenario.senders:
                self._visit_at = NEVER
                self._at(self.now, self._send)
                return
            wake_at = self.now + 0.25
        if wake_at < self._visit_at and wake_at < NEVER:
            self._visit_at = wake_at
            self._at(wake_at, self._visit)

    def _visit(self) -> None:
        if self.now < self._visit_at:
            return
        self._visit_at = NEVER
        self.calls += 1
        self.pipeline.tick(self.now)
        self._take()
        self._plan()

    def _send(self) -> None:
        if self._busy >= self.scenario.senders:
            return
        self.calls += 1
        pipeline = self.pipeline
        if pipeline.wants_description(self.now):
            self._describe()
        elif pipeline.wants_listing(self.now):
            self._idle_visits = 0
            pipeline.listing_started(self.now)
            self._busy += 1
            self._at(self.now + self._latency(), partial(self._list, self.now))
        else:
            request = pipeline.next_request(self.now, self.scenario.inflight_bytes - self._inflight_bytes)
            if request is not None:
                self._idle_visits = 0
                self._seal_and_transmit(request)
            elif self.pipeline.next_wakeup(self.now) <= self.now:
                self._idle_visits += 1
                if self._idle_visits > 20:
                    raise Violation("senders are called again and again without work")
        self._take()
        self._plan()

    def _take(self) -> None:
        completions = self.pipeline.take_completions()
        self.pipeline.notices.clear()
        for batch in self.pipeline.take_events().misplaced:
            self._check_resent(batch)
        if not completions:
            return
        for completion in completions:
            if not completion.items:
                raise Violation("a completion without records")
            if completion.size != sum(item.size for item in completion.items if isinstance(item, Record)):
                raise Violation("a completion releases other bytes than its records were charged")
            outcomes: Sequence[Delivered | Failed] = completion.outcomes or [completion.outcome] * len(completion.items)
            for item, outcome in zip(completion.items, outcomes, strict=True):
                assert isinstance(item, Record)
                if item.completion is not None:
                    raise Violation(f"record {item.ident} completes twice: {item.completion} and {completion}")
                item.completion = replace(completion, outcome=outcome)
                item.completed_at = self.now
                if isinstance(outcome, Failed) and outcome.reason is Reason.TOO_LARGE:
                    self._check_too_large(item, outcome)
                self.denied_for[item.ident] = self.now - self.denied_since
                self.answered += 1
        self._at(self.now + self.random.choice((0.0, 0.0, 0.01, 0.3)), self._settler(completions))

    def _check_too_large(self, item: Record, outcome: Failed) -> None:
        """Check that the record is above the limit that the producer knew, and that this limit was not outdated."""
        self.event_counts["oversized"] += 1
        if "HTTP 413" in outcome.message:
            if len(item.data) + 1024 < self.scenario.front_bytes:
                raise Violation(f"record {item.ident} of {item.size} bytes was failed for HTTP 413")
            return
        limit, asked = self._known_limit
        if item.size <= limit or self.now > asked + 1.5 * STRATEGY_POLL:
            raise Violation(
                f"record {item.ident} of {item.size} bytes failed because of a limit of {limit}, asked for at {asked}"
            )

    def _check_sizes(self, request: Request) -> None:
        """Check that a record that may be too large is sent alone, and that requests are smaller after HTTP 413."""
        if len(request.batches) == 1:
            return
        limit = max(1 << 20, self._largest_accepted, self._known_limit[0])
        if any(batch.wire_size > limit for batch in request.batches):
            raise Violation("a record above the stream's limit is sent with others")
        size, at = self._request_limit
        if request.size > size and self.now < at + REQUEST_LIMIT_GROWTH:
            raise Violation(f"a request of {request.size} bytes after a request of twice {size} was too large")

    def _check_resent(self, batch: Batch) -> None:
        landed = self.landed[batch]
        if self.knowledge.knew(landed, self.now):
            if landed.readable:
                raise Violation(f"{landed} was sent again although a listing showed that consumers could read it")
        elif not (
            landed.patience_is_over(self.scenario.policy.waiting_ttl, self.now)
            or self.knowledge.takes_for_another(landed, self.now)
        ):
            raise Violation(f"{landed} was sent again at {self.now} before a listing showed its shard")

    def _settler(self, completions: list[Completion]) -> Callable[[], None]:
        def settle() -> None:
            items = [item for completion in completions for item in completion.items]
            self.pipeline.settled(items)
            self.settled.update(item.number for item in items)
            self._check_flushes()
            self._plan()

        return settle

    def _check_flushes(self) -> None:
        for mark, _ in self._flushes:
            left = sum(number not in self.settled for number in range(mark))
            if self.pipeline.unflushed(mark) != left:
                raise Violation(f"unflushed({mark}) is {self.pipeline.unflushed(mark)}, and {left} records are left")
        self._flushes = [each for each in self._flushes if self.pipeline.unflushed(each[0])]

    def _flush(self) -> None:
        mark = self.pipeline.flush(self.now)
        if mark != len(self.accepted):
            raise Violation(f"the flush's mark is {mark} after {len(self.accepted)} records")
        self._flushes.append((mark, self.now))
        if self.scenario.calm and not self.overloaded():
            self._at(self.now + 2.0, lambda: self._must_be_flushed(mark))
        self._check_flushes()
        self._plan()

    def _must_be_flushed(self, mark: int) -> None:
        if self.pipeline.unflushed(mark):
            raise Violation(f"{self.pipeline.unflushed(mark)} records are outstanding two seconds after a flush")

    def _make_room(self) -> None:
        self.pipeline.buffer_full(self.now)
        self._plan()

    def _give_up(self) -> None:
        self._given_up = True
        self.event_counts["given up"] += 1
        self.pipeline.fail_all(Reason.CLOSED, "closed", self.now)
        self._take()
        self._plan()

    # --- requests and responses ---

    def _latency(self) -> float:
        return self.random.uniform(*self.scenario.latency)

    def _seal_and_transmit(self, request: Request) -> None:
        self._busy += 1
        self._inflight_bytes += request.size
        if request.is_sealed:
            self._transmit(request)
            return
        compressed = request.compress()
        estimate = request.size

        def seal() -> None:
            space = self.scenario.inflight_bytes - self._inflight_bytes + estimate
            is_sendable = self.pipeline.seal(request, compressed, self.now, space)
            self._inflight_bytes += request.size - estimate
            if is_sendable:
                self._transmit(request)
            else:
                self.event_counts["nothing to send"] += 1
                self._busy -= 1
                self._inflight_bytes -= request.size
            self._take()
            self._plan()

        self._at(self.now + self.random.choice((0.0, 0.0, 0.001, 0.01, 0.2)), seal)

    def _transmit(self, request: Request) -> None:
        self.requests += 1
        started = self.now
        request.wall = self.wall
        entries = []
        policy = self.scenario.policy
        for batch in request.batches:
            items = batch.items
            aggregated = len(items) > 1 or bool(items[0].tags) or batch.queue.wraps_singles
            if aggregated != batch.aggregated or (batch.queue.wraps_singles and not policy.aggregate_single_records):
                raise Violation(f"a batch of {len(items)} records is an aggregate: {batch.aggregated}")
            if aggregated and len(items) == 1:
                self.event_counts["aggregate of one"] += 1
            data = b"".join(batch.parts())
            self._check_data(batch, data)
            key = batch.outer_key
            key_size = len((key or "").encode())
            if batch.wire_size != len(data) + key_size:
                raise Violation(f"a Kinesis record of {len(data)} + {key_size} bytes was counted as {batch.wire_size}")
            if len(items) > 1 and (
                batch.uncompressed_size > policy.aggregation_max_size or len(items) > policy.aggregation_max_count
            ):
                raise Violation(f"an aggregate of {len(items)} records, {batch.uncompressed_size} bytes")
            if len(items) > 1 and not batch.queue.alive:
                raise Violation(f"an aggregate is sent to {batch.queue.shard}, which is closed in a listing")
            entry = {"Data": data, "PartitionKey": key, "ExplicitHashKey": str(items[0].hash_key)}
            entries.append(entry if key is not None else {"Data": data})
            if key is None:
                self.event_counts["without a key"] += 1
        if len(entries) > policy.collection_max_count:
            raise Violation(f"a request of {len(entries)} records")
        if len(entries) > 1 and request.size > policy.collection_max_size:
            raise Violation(f"a request of {request.size} bytes")
        self._check_sizes(request)
        sent = [list(batch.items) for batch in request.batches]
        for item in (item for items in sent for item in items):
            assert isinstance(item, Record)
            item.sent += 1

        def arrive() -> None:
            self._arrived(request, entries, sent, started)

        self._at(self.now + self._latency() / 2, arrive)

    def _check_data(self, batch: Batch, data: bytes) -> None:
        """Check that the data is what its records are, and compressed only if that is smaller."""
        items, policy = batch.items, self.scenario.policy
        plain = encode_aggregate(items) if batch.aggregated else items[0].data
        if data == plain:
            if len(items) > 1 and batch.queue.shard is None:
                raise Violation("an aggregate is sent without a predicted shard")
            return
        message = unpack_batch(data)
        packing = Packing()
        packing.add(items, 1 << 30)
        if policy.compression is None or message != packing.message():
            raise Violation(f"a Kinesis record of {len(data)} bytes is not what its {len(items)} records make")
        if not batch.queue.packs_anywhere or not batch.aggregated:
            if len(data) >= len(plain):
                raise Violation(f"a compressed batch of {len(data)} bytes instead of {len(plain)}")
        elif len(data) > len(message) + header_size(len(message)):
            raise Violation(f"a compressed batch of {len(data)} bytes for a message of {len(message)}")
        self.event_counts["compressed"] += 1
        if batch.queue.shard is None:
            self.event_counts["packed anywhere"] += 1

    def _arrived(
        self, request: Request, entries: list[dict[str, Any]], sent: list[list[PendingRecord]], started: float
    ) -> None:
        exchange = self.model.exchange("PutRecords", {"StreamName": NAME, "Records": entries}, self.wall)
        stream = self.model.streams.get(NAME)
        answer: list[dict[str, str]] | None = None
        error: RequestError | None = None
        delay = exchange.delay + self._latency() / 2
        if exchange.transport == "refused":
            error = RequestError("EndpointConnectionError", "refused", maybe_written=False)
        elif exchange.transport in ("cut_before", "cut_after", "cut_answer"):
            error = RequestError("ConnectionClosedError", "cut", maybe_written=True)
        elif exchange.transport == "never":
            delay = NEVER
        elif exchange.transport == "garbage" and self.random.random() < 0.5:
            error = RequestError("ResponseParserError", "garbage", maybe_written=True)
        elif exchange.error is not None:
            status = exchange.error.status
            error = RequestError(exchange.error.code, str(exchange.error), not 400 <= status < 500, None, status)
        elif exchange.transport not in ("empty", "garbage") and exchange.answer is not None:
            answer = self._spoilt(exchange.answer["Records"])
        timeout = self.scenario.policy.request_timeout
        if self.now + delay - started > timeout:
            self.event_counts["timeout"] += 1
            answer, error = None, RequestError("RequestTimeout", "timed out", maybe_written=True)
            if delay == NEVER and self.random.random() < 0.3:
                timeout += 5.0  # the HTTP client hangs for longer than its timeout
            delay = max(0.0, started + timeout - self.now)

        def answered() -> None:
            self._answered(request, Exchange(started, self.now, request.wall, answer, error), sent, stream)

        self._at(self.now + delay, answered)

    def _spoilt(self, entries: list[dict[str, str]]) -> list[dict[str, str]]:
        """Return the entries as they arrive: a trouble makes some or all of them malformed."""
        for trouble in self.scenario.troubles:
            if trouble.kind.endswith("malformed") and trouble.at(self.now - CORE):
                share = 1.0 if trouble.kind == "all_malformed" else 0.5 * trouble.probability
                spoilt = [self.faults_random.random() < share for _ in entries]
                self.event_counts[trouble.kind] += any(spoilt)
                entries = [{} if bad else entry for entry, bad in zip(entries, spoilt, strict=True)]
        return entries

    def _answered(
        self, request: Request, exchange: Exchange, sent: list[list[PendingRecord]], stream: Stream | None
    ) -> None:
        self._busy -= 1
        self._inflight_bytes -= request.size
        late = request not in in_flight_of(self.pipeline)
        entries = exchange.entries
        unclear = len(entries or ()) != len(sent) if exchange.error is None else exchange.error.maybe_written
        if late or unclear:
            for items in sent:
                _mark(items, "ambiguous")
            entries = None
        self.sent_without_map |= any(batch.queue.shard is None for batch in request.batches)
        for batch, items, entry in zip(request.batches, sent, entries or (), strict=False):
            if not entry:
                _mark(items, "ambiguous")
                for item in items:
                    assert isinstance(item, Record)
                    item.malformed += 1
            if entry.get("SequenceNumber"):
                self._largest_accepted = max(self._largest_accepted, batch.wire_size)
                self.knowledge.heard(exchange.started, self.now)
            packed = batch.aggregated and not batch.queue.packs_anywhere
            if entry.get("SequenceNumber") and packed and stream is not None:
                self.landed[batch] = Landed.on(stream, entry["ShardId"], items, exchange.ended)
                predicted = batch.queue.shard
                if predicted is None or predicted.shard_id != entry["ShardId"]:
                    if len(items) > 1:
                        self._note_misplaced(exchange.started)
                    if batch.must_stay_in_range:
                        _mark(items, "off_shard")
                    else:
                        self.event_counts["compressed off shard"] += 1
        if exchange.error is not None and exchange.error.code == TOO_LARGE and not late:
            half = max(request.size // 2, LEAST_REQUEST_LIMIT)
            self._request_limit = (min(half, self._request_limit[0]), self.now)
        if exchange.error is not None and exchange.error.code == NOT_FOUND:
            self.knowledge.missing(self.now)
        error = exchange.error
        if entries and not any(entries):
            error, entries = RequestError(MALFORMED, "nothing but malformed entries", maybe_written=True), None
        self._note_failure(error, bool(entries), exchange.started)
        self.calls += 1
        self.pipeline.request_ended(request, exchange, self.now)
        self._take()
        self._plan()

    def _note_misplaced(self, started: float) -> None:
        self.event_counts["off shard"] += 1
        stream = self.model.streams.get(NAME)
        shards = (stream.incarnation, stream.next_index) if stream else (0, 0)
        if shards != self.reshards_seen:
            self.reshards_seen, self.misplaced_at = shards, self.now
            self._shows_by_chance = stream is not None and stream.strategy == AUTO
        elif started > self.misplaced_at + 0.7 and not self._may_not_know():
            # The shard that the service chooses is often the key's shard, so one miss proves nothing yet.
            if self._shows_by_chance:
                self._shows_by_chance = False
                return
            raise Violation(f"an aggregate is sent to a closed shard {started - self.misplaced_at:.1f} s after another")

    def _may_not_know(self) -> bool:
        """Return True if a trouble may keep the producer from learning in time where records land."""
        scenario = self.scenario
        return scenario.troubled_by("listing", "never", "late")

    def only_denied_since(self, at: float) -> float:
        """Return when the uninterrupted series of denials began in which `at` lies; `at` if it lies in none."""
        return next((first for first, last in reversed(self._denial_periods) if first <= at <= last), at)

    def _note_failure(self, error: RequestError | None, answered: bool, started: float) -> None:
        if answered or error is None or error.code not in DENIED:
            self._last_was_denial = False
        elif self._last_was_denial:
            self._denial_periods[-1] = (self._denial_periods[-1][0], self.now)
        else:
            self._last_was_denial = True
            self._denial_periods.append((self.now, self.now))
        if answered:
            self.denied_since = NEVER
        elif error is not None and error.code in DENIED:
            self.denied_since = min(self.denied_since, self.now)
        if answered or (error is not None and error.code in ("InvalidArgumentException", TOO_LARGE)):
            self._failing.clear()
            return
        self._failing.append(started)
        lasted = self.now - self._failing[0]
        if len(self._failing) > 15 + self.scenario.senders + 2.5 * lasted:
            raise Violation(f"{len(self._failing)} requests in {lasted:.1f} s of an outage")

    def _describe(self) -> None:
        if self.now < self._described_at + STRATEGY_POLL:
            raise Violation(f"described again {self.now - self._described_at:.1f} s later")
        if len(self.settled) == len(self.accepted):
            raise Violation("described while there are no records")
        asked = self._described_at = self.now
        self._idle_visits = 0
        self.pipeline.description_started(self.now)
        self._busy += 1
        summary = Summary(None, problem="denied")
        delay = self._latency()
        if self.random.random() < 0.1:
            delay += self.random.uniform(0.5, 6.0)
            self._only_sender_kept = self.scenario.senders == 1
        if self.scenario.strategy_known:
            try:
                answer = self.model.handle("DescribeStreamSummary", {"StreamName": NAME}, self.wall)
                described_stream = answer["StreamDescriptionSummary"]
                limit = described_stream["MaxRecordSizeInKiB"] << 10
                strategy = described_stream.get("RecordDistributionStrategy", BY_KEY)
                summary = Summary(strategy, described_stream["OpenShardCount"], max_record_size=limit)
            except ServiceError as error:
                summary = Summary(None, problem=str(error))

        def described() -> None:
            self._busy -= 1
            self.calls += 1
            if summary.max_record_size is not None:
                self._known_limit = summary.max_record_size, asked
            self.pipeline.described(summary, self.now)
            self._take()
            self._plan()

        self._at(self.now + delay, described)

    def _list(self, asked: float) -> None:
        listing: list[ShardRange] = []
        error = ""
        request_error: RequestError | None = None
        exchange = self.model.exchange(
            "ListShards", {"StreamName": NAME, "ShardFilter": {"Type": "AT_LATEST"}}, self.wall
        )
        if exchange.answer is None:
            error = str(exchange.error or exchange.transport)
            if exchange.error is not None:
                request_error = RequestError(exchange.error.code, error, False, None, exchange.error.status)
        elif self._stale is not None and self._stale[0] == self._stream().incarnation:
            listing = self._stale[1]
            self.event_counts["listing_stale"] += 1
        else:
            listing = ranges(exchange.answer["Shards"])
        if len(listing) > 1 and any(
            each.kind == "listing_gap" and each.at(self.now - CORE) for each in self.scenario.troubles
        ):
            listing.remove(self.faults_random.choice(listing))
            self.event_counts["listing_gap"] += 1
        incarnation = 0 if error else self._stream().incarnation

        def listed() -> None:
            self._busy -= 1
            self.calls += 1
            if error:
                self.pipeline.listing_failed(error, self.now, request_error)
            else:
                self.knowledge.shown(incarnation, listing, asked, self.now)
                self.pipeline.listing_succeeded(listing, self.now)
            self._take()
            self._plan()

        self._at(self.now + self._latency(), listed)

    def _begin_stale(self) -> None:
        if NAME in self.model.streams:
            shards = [each.describe() for each in self._stream().open]
            self._stale = self._stream().incarnation, ranges(shards)

    def _end_stale(self) -> None:
        self._stale = None

    # --- faults and changes of the stream ---

    def _fault(self, operation: str, params: Mapping[str, Any], wall: float) -> Fault | None:
        at = wall - EPOCH
        if operation == "PutRecords" and any(_has_poison(entry["Data"]) for entry in params["Records"]):
            self.event_counts["poison"] += 1
            return Fault(code="InvalidArgumentException", message="one of the records")
        for trouble in self.scenario.troubles:
            if trouble.kind.startswith("listing_") != (operation == "ListShards"):
                continue
            if trouble.kind == "poison" or not trouble.at(at):
                continue
            if operation not in ("ListShards", "PutRecords") or self.faults_random.random() >= trouble.probability:
                continue
            if trouble.place is not None and not self._concerns(trouble.place, params):
                continue
            fault = self._fault_of(trouble.kind, params)
            if fault is not None:
                self.event_counts[trouble.kind] += 1
                if trouble.place is not None:
                    self.event_counts["of one shard"] += 1
                return fault
        return None

    def _concerns(self, place: int, params: Mapping[str, Any]) -> bool:
        shards = self._stream().open if NAME in self.model.streams else []
        return bool(shards) and shards[place % len(shards)].id in self.model.target_shards(params, self.wall)

    def _fault_of(self, kind: str, params: Mapping[str, Any]) -> Fault | None:
        if kind in _SIMPLE:
            return _SIMPLE[kind]
        if kind == "too_large":
            size = sum(len(entry["Data"]) + len(entry.get("PartitionKey", "")) for entry in params["Records"])
            return Fault(code=TOO_LARGE, status=413) if size > self.scenario.front_bytes else None
        if kind == "late":
            return Fault(delay=self.faults_random.choice((0.5, 2.0, 8.0, 30.0)))
        if kind in ("entry_throttled", "entry_internal"):
            code = "InternalFailure" if kind == "entry_internal" else "ProvisionedThroughputExceededException"
            count = len(params["Records"])
            some = frozenset(place for place in range(count) if self.faults_random.random() < 0.5)
            return Fault(entry_code=code, entries=some) if some else None
        return None  # _list() makes listing_stale and listing_gap

    def _stream(self) -> Stream:
        return self.model.streams[NAME]

    def _changer(self, change: Change) -> Callable[[], None]:
        def carry_out() -> None:
            try:
                self._change(change)
                self.event_counts[change] += 1
            except (ServiceError, KeyError):  # another change is in progress, or the stream does not exist
                pass

        return carry_out

    def _change(self, change: Change) -> None:
        model, random = self.model, self.random
        named = {"StreamName": NAME}
        if change == "recreate":
            model.handle("DeleteStream", named, self.wall)
            self._at(self.now + 10.0 + random.uniform(0.001, 3), self._recreate)
            return
        if change in ("auto", "user"):
            strategy = "AUTO" if change == "auto" else "USER_PARTITION_KEY"
            if self._stream().strategy == strategy:
                raise ServiceError("Nothing", "to change")
            what_strategy = {"StreamARN": self._stream().arn, "RecordDistributionStrategy": strategy}
            model.handle("UpdateStreamRecordDistributionStrategy", what_strategy, self.wall)
            self.reshards_seen = (0, 0)
            return
        if change in ("raise_size", "lower_size"):
            kib = 2048 if change == "raise_size" else 1024
            model.handle("UpdateMaxRecordSize", {"StreamARN": self._stream().arn, "MaxRecordSizeInKiB": kib}, self.wall)
            return
        shards = self._stream().open if NAME in model.streams else []
        if not shards:
            raise ServiceError("Nothing", "to reshard")
        if change == "split":
            shard = random.choice(shards)
            middle = shard.first + int((shard.last - shard.first) * random.uniform(0.1, 0.9))
            what = {"ShardToSplit": shard.id, "NewStartingHashKey": str(middle)}
            model.handle("SplitShard", {**named, **what}, self.wall)
        elif change == "merge":
            if len(shards) < 2:
                raise ServiceError("Nothing", "to merge")
            at = random.randrange(len(shards) - 1)
            what = {"ShardToMerge": shards[at].id, "AdjacentShardToMerge": shards[at + 1].id}
            model.handle("MergeShards", {**named, **what}, self.wall)
        else:
            target = random.choice([count for count in (1, 2, 3, 4, 6, 8) if count != len(shards)])
            what_count = {"TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"}
            model.handle("UpdateShardCount", {**named, **what_count}, self.wall)

    def _recreate(self) -> None:
        count = self.random.choice((1, 2, 3, 5))
        self.model.handle("CreateStream", {"StreamName": NAME, "ShardCount": count}, self.wall)


def _has_poison(data: bytes) -> bool:
    return POISON in data or POISON in (unpack_batch(data) or b"")


def _mark(items: list[PendingRecord], what: str) -> None:
    for item in items:
        setattr(item, what, True)


def ranges(shards: list[dict[str, Any]]) -> list[ShardRange]:
    return [
        ShardRange(
            each["ShardId"], int(each["HashKeyRange"]["StartingHashKey"]), int(each["HashKeyRange"]["EndingHashKey"])
        )
        for each in shards
        if "EndingSequenceNumber" not in each["SequenceNumberRange"]
    ]


_SIMPLE = {
    "internal": Fault(code="InternalFailure", status=500),
    "unavailable": Fault(code="ServiceUnavailable", status=503),
    "request_throttled": Fault(code="ThrottlingException"),
    "limit_exceeded": Fault(code="LimitExceededException"),
    "kms_throttled": Fault(code="KMSThrottlingException"),
    "kms_disabled": Fault(code="KMSDisabledException"),
    "access_denied": Fault(code="AccessDeniedException"),
    "expired_token": Fault(code="ExpiredTokenException"),
    "not_found": Fault(code="ResourceNotFoundException"),
    "all_invalid": Fault(code="InvalidArgumentException", message="for any request"),
    "refused": Fault(transport="refused"),
    "cut_before": Fault(transport="cut_before"),
    "cut_after": Fault(transport="cut_after"),
    "cut_answer": Fault(transport="cut_answer"),
    "never": Fault(transport="never"),
    "empty": Fault(transport="empty"),
    "garbage": Fault(transport="garbage"),
    "wrong_length": Fault(transport="wrong_length"),
    "listing_denied": Fault(code="AccessDeniedException"),
    "listing_fails": Fault(code="InternalFailure", status=500),
}
