"""The operations that set something of a stream: mode, record size, strategy, warmth, retention, monitoring, key.

Those that the service carries out later put the stream into UPDATING for Phases.updating.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kplpy.local.model import resharding
from kplpy.local.model.account import ON_DEMAND_SHARDS, Account, Params, Response
from kplpy.local.model.account_settings import check_quotas
from kplpy.local.model.errors import ServiceError, invalid_argument, over_limit, validation
from kplpy.local.model.stream import ON_DEMAND, PROVISIONED, USER_KEY, Stream

SHORTEST_RETENTION, LONGEST_RETENTION = 24, 8760
"""Hours."""
LARGEST_WARM_MIBPS = 10 * 1024
METRICS = (
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
)
"""The metrics of shards that enhanced monitoring switches on. They are shown, not measured."""


def _active(account: Account, params: Params, now: float) -> Stream:
    stream = account.stream(params, now)
    resharding.require_active(stream, account.number)
    return stream


# --- mode, record size and strategy ---


def _update_mode(account: Account, params: Params, now: float) -> Response:
    stream = _active(account, params, now)
    mode, warm = params["StreamModeDetails"]["StreamMode"], params.get("WarmThroughputMiBps")
    check_warm_throughput(account, mode, warm, now)
    if mode != stream.mode:
        check_quotas(account, mode, len(stream.open))
    if mode == PROVISIONED:
        account.check_detached(stream, now)
    stream.mode = mode
    if mode == PROVISIONED:
        stream.strategy = USER_KEY
        stream.warm_mibps = None
    elif warm is not None:
        _warm_up(account, stream, warm, now)
    return {}


def _update_max_record_size(account: Account, params: Params, now: float) -> Response:
    _active(account, params, now).max_record_kib = params["MaxRecordSizeInKiB"]
    return {}


def _update_strategy(account: Account, params: Params, now: float) -> Response:
    """Set the distribution strategy, which takes effect at once."""
    stream = _active(account, params, now)
    if stream.mode != ON_DEMAND:
        raise invalid_argument(
            f"Stream {stream.name} under account {account.number} is in Provisioned mode, which does not support "
            "RecordDistributionStrategy."
        )
    stream.strategy = params["RecordDistributionStrategy"]
    return {}


# --- warm throughput ---


def check_warm_throughput(account: Account, mode: str, mibps: int | None, now: float) -> None:
    """Raise ValidationException or LimitExceededException if a stream cannot have this warm throughput (MiB/s)."""
    if mibps is None:
        return
    if mode != ON_DEMAND:
        raise validation("WarmThroughputMiBps is supported only for streams in On-Demand mode.")
    if not account.commitment.is_enabled(now):
        raise validation(
            "WarmThroughputMiBps is supported only in accounts that have MinimumThroughputBillingCommitment enabled."
        )
    if mibps > LARGEST_WARM_MIBPS:
        raise over_limit(f"WarmThroughputMiBps must be at most {LARGEST_WARM_MIBPS}; requested: {mibps}.")


def _update_warm_throughput(account: Account, params: Params, now: float) -> Response:
    stream, target = _active(account, params, now), params["WarmThroughputMiBps"]
    check_warm_throughput(account, stream.mode, target, now)
    before = stream.warm_throughput()["CurrentMiBps"]
    _warm_up(account, stream, target, now)
    warmth = {"TargetMiBps": target, "CurrentMiBps": before}
    return {"StreamARN": stream.arn, "StreamName": stream.name, "WarmThroughput": warmth}


def _warm_up(account: Account, stream: Stream, mibps: int, now: float) -> None:
    """Scale a stream to the shards that take `mibps` MiB/s."""
    stream.warm_mibps = mibps
    resharding.scale(stream, max(ON_DEMAND_SHARDS, mibps), now, account.phases.updating)


# --- retention ---


def _increase_retention(account: Account, params: Params, now: float) -> Response:
    stream, hours = _active(account, params, now), _checked_hours(params)
    if hours <= stream.retention_hours:
        raise _wrong_direction(stream, hours, "longer", "DecreaseStreamRetentionPeriod")
    stream.update(now, account.phases.updating, lambda at: stream.set_retention(hours, at))
    return {}


def _decrease_retention(account: Account, params: Params, now: float) -> Response:
    stream, hours = _active(account, params, now), _checked_hours(params)
    if hours >= stream.retention_hours:
        raise _wrong_direction(stream, hours, "shorter", "IncreaseStreamRetentionPeriod")
    stream.update(now, account.phases.updating, lambda at: stream.set_retention(hours, at))
    return {}


def _wrong_direction(stream: Stream, hours: int, wanted: str, other: str) -> ServiceError:
    return invalid_argument(
        f"Requested retention period ({hours} hours) for stream {stream.name} must be {wanted} than the existing "
        f"retention period ({stream.retention_hours} hours). The opposite is {other}."
    )


def _checked_hours(params: Params) -> int:
    hours: int = params["RetentionPeriodHours"]
    for bound, name, wrong, is_broken in (
        (SHORTEST_RETENTION, "Minimum", "short", hours < SHORTEST_RETENTION),
        (LONGEST_RETENTION, "Maximum", "long", hours > LONGEST_RETENTION),
    ):
        if is_broken:
            raise invalid_argument(
                f"{name} allowed retention period is {bound} hours. Requested retention period ({hours} hours) is too "
                f"{wrong}."
            )
    return hours


# --- enhanced monitoring ---


def _enable_monitoring(account: Account, params: Params, now: float) -> Response:
    stream = _active(account, params, now)
    return _monitor(account, stream, {*stream.metrics, *_named(params)}, now)


def _disable_monitoring(account: Account, params: Params, now: float) -> Response:
    stream = _active(account, params, now)
    return _monitor(account, stream, {*stream.metrics} - {*_named(params)}, now)


def _named(params: Params) -> Sequence[str]:
    names: Sequence[str] = params["ShardLevelMetrics"]
    return METRICS if "ALL" in names else names


def _monitor(account: Account, stream: Stream, wanted: set[str], now: float) -> Response:
    before, stream.metrics = stream.metrics, [each for each in METRICS if each in wanted]
    stream.update(now, account.phases.updating)
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "CurrentShardLevelMetrics": before,
        "DesiredShardLevelMetrics": stream.metrics,
    }


# --- encryption ---


def _start_encryption(account: Account, params: Params, now: float) -> Response:
    return _encrypt(account, params, now, params["KeyId"])


def _stop_encryption(account: Account, params: Params, now: float) -> Response:
    return _encrypt(account, params, now, None)


def _encrypt(account: Account, params: Params, now: float, key_id: str | None) -> Response:
    """Set the key by which records are said to be encrypted. There is no KMS, so any key is taken."""
    if params["EncryptionType"] != "KMS":
        raise invalid_argument("EncryptionType must be KMS.")
    stream = _active(account, params, now)
    stream.update(now, account.phases.updating, lambda _: stream.set_key(key_id))
    return {}


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "UpdateStreamMode": _update_mode,
    "UpdateMaxRecordSize": _update_max_record_size,
    "UpdateStreamRecordDistributionStrategy": _update_strategy,
    "UpdateStreamWarmThroughput": _update_warm_throughput,
    "IncreaseStreamRetentionPeriod": _increase_retention,
    "DecreaseStreamRetentionPeriod": _decrease_retention,
    "EnableEnhancedMonitoring": _enable_monitoring,
    "DisableEnhancedMonitoring": _disable_monitoring,
    "StartStreamEncryption": _start_encryption,
    "StopStreamEncryption": _stop_encryption,
}
