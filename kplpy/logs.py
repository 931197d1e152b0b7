"""All that kplpy logs, for people and for programs.

A record of the loggers below `kplpy` carries a dict, `record.kplpy`: its "event", from this table, and the fields that
stand in its message. An event of RateLimitedLog is logged at once, and then every 30 s at most: with how many there
were since, and with the fields of the latest.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from kplpy.escaping import shown


@dataclass(frozen=True)
class Event:
    level: int
    message: str

    @property
    def fields(self) -> list[str]:
        return re.findall(r"%\((\w+)\)", self.message)


EVENTS = {
    "shards_not_listed": Event(
        logging.WARNING,
        "%(stream)s: the shards cannot be listed (%(reason)s); records travel alone, unaggregated, until they are",
    ),
    "shards_listed_again": Event(
        logging.WARNING, "%(stream)s: the shards are listed again; records are aggregated from now on"
    ),
    "service_places_records": Event(
        logging.WARNING,
        "%(stream)s: the service distributes the records now (AUTO): they are not aggregated, and keys do not matter",
    ),
    "keys_place_records": Event(
        logging.WARNING, "%(stream)s: partition keys decide the shards again: records are aggregated from now on"
    ),
    "strategy_unknown": Event(
        logging.WARNING,
        "%(stream)s: its RecordDistributionStrategy could not be learnt (%(reason)s) and is taken for "
        "USER_PARTITION_KEY; set assume_distribution_strategy to say what it is",
    ),
    "cbor_refused": Event(
        logging.WARNING,
        "%(stream)s: the endpoint does not take CBOR (%(code)s: %(reason)s); requests are JSON from now on",
    ),
    "records_throttled": Event(logging.INFO, "%(stream)s: %(count)d Kinesis records throttled, to be sent again"),
    "requests_failed": Event(
        logging.WARNING, "%(stream)s: %(reason)s (%(operation)s: %(code)s; failed requests: %(count)d)"
    ),
    "records_failed_unseen": Event(
        logging.ERROR,
        "%(stream)s: %(count)d records failed, and nobody has looked at their futures: %(codes)s; most of them: "
        "%(reason)s",
    ),
    "closed_with_unseen_failures": Event(
        logging.ERROR,
        "%(stream)s: %(count)d records failed in all, and nobody has looked at their futures: %(codes)s; most of "
        "them: %(reason)s",
    ),
    "on_failure_raised": Event(logging.ERROR, "%(count)d on_failure raised; the latest: %(latest)s"),
    "callbacks_raised": Event(logging.ERROR, "%(count)d callbacks of futures raised; the latest: %(latest)s"),
    "callback_raised": Event(logging.ERROR, "a callback of %(future)s, which was answered already, raised %(raised)s"),
    "internal_errors": Event(logging.ERROR, "%(count)d errors within kplpy, which goes on; the latest: %(latest)s"),
    "metrics_not_counted": Event(
        logging.ERROR,
        "%(count)d answers were not counted, which leaves a gap in the metrics; the latest: %(latest)s",
    ),
    "metrics_not_taken": Event(
        logging.ERROR, "%(count)d times metrics were not taken, and records go on; the latest: %(latest)s"
    ),
    "stats_not_offered": Event(logging.WARNING, "kplpy top cannot look at %(path)s: %(reason)s"),
    "closed_with_undelivered": Event(logging.ERROR, "closed with %(records)d records undelivered after %(seconds)g s"),
    "closed_with_callbacks": Event(
        logging.WARNING, "closed before the callbacks of %(records)d answered records had ended, after %(seconds)g s"
    ),
    "invocation_ended_early": Event(
        logging.ERROR, "%(records)d records were not answered by the end of the invocation; they stay buffered"
    ),
    "credentials_not_fetched": Event(logging.WARNING, "fetching credentials again: %(reason)s"),
    "clock_differs": Event(
        logging.WARNING,
        "this machine's clock differs by %(seconds)d s from that of %(endpoint)s (negative: it is slow); requests are "
        "signed with the service's time from now on; set the clock",
    ),
    "properties_ignored": Event(logging.WARNING, "%(path)s: without meaning in kplpy and ignored: %(keys)s"),
    "aggregate_broken": Event(
        logging.ERROR,
        "An aggregated record of %(user_records)d user records is broken: kept the first %(kept)d, as the KCL does "
        "(%(reason)s)",
    ),
    "log_records_dropped": Event(logging.ERROR, "%(count)d log records dropped; the latest: %(latest)s"),
    "log_not_flushed": Event(logging.WARNING, "flushing the log to %(stream)s: %(reason)s"),
    "journal_not_rewritten": Event(
        logging.WARNING, "%(path)s: not rewritten without what is not held any more: %(reason)s"
    ),
    "journal_torn": Event(
        logging.WARNING, "%(path)s: dropping an unfinished change, the last %(bytes)d bytes from byte %(offset)d on"
    ),
    "uwsgi_without_threads": Event(
        logging.WARNING,
        "uWSGI runs process %(process)d without --enable-threads: each put is sent before it returns, which takes long",
    ),
}


def log(logger: logging.Logger, event: str, fields: dict[str, object], error: BaseException | None = None) -> None:
    """Log one of EVENTS with all its fields, each text made safe to show; `error` brings its traceback along."""
    kind = EVENTS[event]
    fields = {name: shown(value) if isinstance(value, str) else value for name, value in fields.items()}
    logger.log(kind.level, kind.message, fields, exc_info=error, extra={"kplpy": {"event": event, **fields}})
