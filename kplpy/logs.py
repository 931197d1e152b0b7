"""The table of all that kplpy logs, and the function that logs it.

Each record of a logger below `kplpy` has a dict, `record.kplpy`: its "event", a key of EVENTS, and the fields that its
message shows. RateLimitedLog logs an event at once, and then at most every 30 s, with the count since and the fields of
the latest.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from kplpy.escaping import shown


@dataclass(frozen=True)
class Event:
    """A level and a message, whose %(name)s are the event's fields."""

    level: int
    message: str

    @property
    def fields(self) -> list[str]:
        """The names of the fields, in the message's order."""
        return re.findall(r"%\((\w+)\)", self.message)


EVENTS = {
    "shards_not_listed": Event(
        logging.WARNING,
        "%(stream)s: the shards cannot be listed (%(reason)s), so records are sent unaggregated until they are",
    ),
    "shards_listed_again": Event(
        logging.WARNING, "%(stream)s: the shards are listed again, so records are aggregated from now on"
    ),
    "service_places_records": Event(
        logging.WARNING,
        "%(stream)s: the service now chooses the shards (AUTO), so records are not aggregated and keys do not matter",
    ),
    "keys_place_records": Event(
        logging.WARNING, "%(stream)s: partition keys decide the shards again, so records are aggregated from now on"
    ),
    "strategy_unknown": Event(
        logging.WARNING,
        "%(stream)s: the RecordDistributionStrategy could not be read (%(reason)s), so USER_PARTITION_KEY is assumed; "
        "set assume_distribution_strategy to the stream's strategy",
    ),
    "cbor_refused": Event(
        logging.WARNING,
        "%(stream)s: the endpoint does not take CBOR (%(code)s: %(reason)s), so requests are JSON from now on",
    ),
    "client_intercepted": Event(
        logging.DEBUG, "requests with records go through botocore's client, which costs more CPU time: %(reason)s"
    ),
    "records_throttled": Event(
        logging.INFO,
        "%(stream)s: %(count)d Kinesis records were throttled, and are retried unless fail_if_throttled is set",
    ),
    "requests_failed": Event(
        logging.WARNING, "%(stream)s: %(reason)s (%(operation)s: %(code)s; failed requests: %(count)d)"
    ),
    "records_failed_unseen": Event(
        logging.ERROR,
        "%(stream)s: %(count)d records failed, and nobody has looked at their futures: %(codes)s; the most frequent: "
        "%(reason)s",
    ),
    "closed_with_unseen_failures": Event(
        logging.ERROR,
        "%(stream)s: %(count)d records failed in total, and nobody has looked at their futures: %(codes)s; the most "
        "frequent: %(reason)s",
    ),
    "on_failure_raised": Event(logging.ERROR, "%(count)d calls of on_failure raised; the latest: %(latest)s"),
    "callbacks_raised": Event(logging.ERROR, "%(count)d callbacks of futures raised; the latest: %(latest)s"),
    "callback_raised": Event(
        logging.ERROR, "a callback that was added to %(future)s, which was done, raised %(raised)s"
    ),
    "internal_errors": Event(
        logging.ERROR, "%(count)d internal errors of kplpy, which keeps running; the latest: %(latest)s"
    ),
    "read_failing": Event(
        logging.WARNING, "%(stream)s: reading %(shard)s failed three times and is tried again: %(reason)s"
    ),
    "metrics_not_counted": Event(
        logging.ERROR,
        "%(count)d results were not counted, which leaves a gap in the metrics; the latest: %(latest)s",
    ),
    "metrics_not_taken": Event(
        logging.ERROR, "%(count)d times metrics were not taken, which does not affect records; the latest: %(latest)s"
    ),
    "stats_not_offered": Event(logging.WARNING, "the socket %(path)s for kplpy top could not be made: %(reason)s"),
    "closed_with_undelivered": Event(logging.ERROR, "closed with %(records)d records undelivered after %(seconds)g s"),
    "closed_with_callbacks": Event(
        logging.WARNING, "closed after %(seconds)g s, before the callbacks of %(records)d records had ended"
    ),
    "ray_written": Event(
        logging.INFO,
        "%(stream)s: %(tasks)d Ray tasks delivered %(rows)d rows, of which %(duplicates)d may be in the stream twice",
    ),
    "invocation_ended_early": Event(
        logging.ERROR, "%(records)d records had no outcome at the end of the invocation, and stay buffered"
    ),
    "credentials_not_fetched": Event(logging.WARNING, "credentials could not be fetched again: %(reason)s"),
    "ec2_metadata_not_read": Event(
        logging.WARNING, "ADDEC2METADATA: the metadata of the EC2 instance could not be read: %(reason)s"
    ),
    "clock_differs": Event(
        logging.WARNING,
        "this machine's clock is %(seconds)d s ahead of that of %(endpoint)s (negative: behind), so requests are "
        "signed with the service's time from now on; set the clock",
    ),
    "properties_ignored": Event(logging.WARNING, "%(path)s: keys without a meaning in kplpy are ignored: %(keys)s"),
    "aggregate_broken": Event(
        logging.ERROR,
        "an aggregated record of %(user_records)d user records is broken (%(reason)s), so only the first %(kept)d are "
        "kept, as the KCL does",
    ),
    "log_records_dropped": Event(logging.ERROR, "%(count)d log records dropped; the latest: %(latest)s"),
    "log_not_flushed": Event(logging.WARNING, "the log was not flushed to %(stream)s in time: %(reason)s"),
    "journal_not_rewritten": Event(
        logging.WARNING, "%(path)s: the journal could not be rewritten without its outdated entries: %(reason)s"
    ),
    "journal_torn": Event(
        logging.WARNING,
        "%(path)s: the last change is unfinished, so the last %(bytes)d bytes, from byte %(offset)d on, are dropped",
    ),
    "spark_committed": Event(logging.INFO, "%(stream)s: a Spark %(write)s delivered %(rows)d rows of %(tasks)d tasks"),
    "spark_duplicates": Event(
        logging.WARNING,
        "%(stream)s: a Spark %(write)s delivered %(rows)d rows, of which %(duplicates)d may be in the stream twice",
    ),
    "spark_aborted": Event(
        logging.WARNING,
        "%(stream)s: a Spark %(write)s was aborted, and the %(rows)d rows of %(tasks)d finished tasks stay in the "
        "stream",
    ),
    "spool_recovered": Event(
        logging.WARNING, "%(path)s: earlier processes left %(records)d records in the spool, which are sent now"
    ),
    "spool_part_unreadable": Event(
        logging.ERROR, "records that an earlier process left in the spool cannot be read: %(reason)s"
    ),
    "spool_stream_unknown": Event(
        logging.ERROR, "%(path)s: the records of %(stream)s stay in the spool, because they cannot be sent: %(reason)s"
    ),
    "spool_damaged": Event(
        logging.ERROR, "%(path)s: %(entries)d damaged entries of the spool are set aside: %(damage)s"
    ),
    "spool_full": Event(logging.ERROR, "%(path)s: the spool is full with %(bytes)d bytes (spool_max_bytes)"),
    "spool_failed": Event(logging.ERROR, "%(path)s: the spool cannot be written, so %(goes_on)s: %(reason)s"),
    "spool_works_again": Event(logging.WARNING, "%(path)s: the spool can be written again"),
    "spool_not_answered": Event(
        logging.ERROR,
        "outcomes could not be noted in the spool %(count)d times, so records may be sent again; the latest: "
        "%(latest)s",
    ),
    "closed_with_spooled": Event(
        logging.WARNING, "%(path)s: closed with %(records)d records in the spool, which the next producer there sends"
    ),
    "agent_started": Event(logging.INFO, "the agent follows %(flows)d flows, with checkpoints in %(checkpoints)s"),
    "agent_configuration": Event(logging.WARNING, "configuration: %(warning)s"),
    "agent_status": Event(
        logging.INFO,
        "%(flow)s: %(files)d files; records: %(parsed)d parsed, %(skipped)d skipped, %(sent)d sent, %(failed)d failed "
        "and sent again, %(dropped)d dropped, %(outstanding)d outstanding; %(bytes_behind)d bytes behind",
    ),
    "agent_behind": Event(logging.INFO, "%(flow)s: %(bytes)d bytes behind, in %(files)d files"),
    "agent_far_behind": Event(logging.WARNING, "%(flow)s: %(bytes)d bytes behind, in %(files)d files"),
    "agent_metrics": Event(logging.INFO, "%(destination)s: %(metrics)s"),
    "agent_records_failed": Event(
        logging.WARNING, "%(flow)s: %(count)d records failed, and are sent again; the latest: %(reason)s"
    ),
    "agent_records_dropped": Event(
        logging.ERROR,
        "%(flow)s: %(count)d records dropped, because they are refused: %(reason)s; the latest: %(example)s",
    ),
    "agent_checkpoints_not_written": Event(
        logging.ERROR,
        "positions could not be written %(count)d times, so records may be sent again; the latest: %(latest)s",
    ),
    "agent_reloaded": Event(logging.INFO, "the new configuration is in use, with %(flows)d flows"),
    "agent_not_reloaded": Event(logging.ERROR, "the old configuration stays, because the new one is wrong: %(reason)s"),
    "agent_stopped_early": Event(
        logging.WARNING, "stopped with %(records)d records undelivered, which the next agent reads again"
    ),
    "agent_stopped": Event(logging.INFO, "the agent has ended; %(sent)d records were sent"),
    "uwsgi_without_threads": Event(
        logging.WARNING,
        "uWSGI runs process %(process)d without --enable-threads, so each put sends its record before it returns, "
        "which is slow",
    ),
}


def log(logger: logging.Logger, event: str, fields: dict[str, object], error: BaseException | None = None) -> None:
    """Log one of EVENTS with all its fields. Texts are made safe to show. error: logged with its traceback."""
    kind = EVENTS[event]
    fields = {name: shown(value) if isinstance(value, str) else value for name, value in fields.items()}
    logger.log(kind.level, kind.message, fields, exc_info=error, extra={"kplpy": {"event": event, **fields}})
