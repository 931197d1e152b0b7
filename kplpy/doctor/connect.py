"""Finds the credentials, makes the client, and makes the two calls that every producer makes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kplpy.core.results.retry_policy import NOT_KINESIS, UNKNOWN_OPERATION
from kplpy.doctor.calls import Answer, Calls
from kplpy.doctor.examination import Credentials, Examination


def connect(examination: Examination) -> None:
    """Set the credentials, the calls, the first two answers, and the obstacle if there is one. Raises nothing."""
    examination.credentials = _find_credentials(examination)
    if examination.credentials.problem:
        examination.obstacle = "there are no credentials"
    _make_client(examination)
    if examination.calls is None or examination.obstacle:
        return
    _first_calls(examination, examination.calls)


def _find_credentials(examination: Examination) -> Credentials:
    from kplpy.aws.causes import cause_of

    config = examination.config
    try:
        if config.session is None:
            from botocore.session import Session

            examination.config = config = replace(config, session=Session())
        found: Any = config.session.get_credentials()  # type: ignore[union-attr]
        if found is None:
            return Credentials(
                problem="none of boto's sources has credentials (environment, ~/.aws, roles of containers and of EC2)"
            )
        frozen = found.get_frozen_credentials()
    except Exception as error:
        return Credentials(problem=": ".join(cause_of(error)))
    # botocore (1.40 to 1.44) keeps the end in a private attribute. Without it, the report has no end.
    expires: Any = getattr(found, "_expiry_time", None)
    end = expires.timestamp() if hasattr(expires, "timestamp") else None
    return Credentials(str(found.method), str(frozen.access_key), bool(frozen.token), end)


def _make_client(examination: Examination) -> None:
    from botocore.exceptions import InvalidRegionError, NoRegionError

    from kplpy.aws.causes import cause_of
    from kplpy.aws.client import make_client
    from kplpy.aws.kinesis.control_plane import read_strategy

    try:
        client = make_client(examination.config)
    except Exception as error:
        examination.client_problem = ": ".join(cause_of(error))
        examination.has_no_region = isinstance(error, (InvalidRegionError, NoRegionError))
        examination.obstacle = examination.obstacle or "there is no client for the service"
        return
    read_strategy(client)
    examination.calls = Calls(client, examination.deadline)


def _first_calls(examination: Examination, calls: Calls) -> None:
    from kplpy.aws.kinesis.transport import open_shards

    examination.description = calls.ask("DescribeStreamSummary", **examination.place)
    if not examination.description.is_from_service:
        examination.obstacle = "the endpoint does not answer"
        return
    examination.listing = calls.run("ListShards", lambda: open_shards(calls.client, examination.name, examination.arn))
    examination.obstacle = _obstacle(examination.description, examination.listing)


def _obstacle(*answers: Answer) -> str:
    if any(each.refuses_credentials for each in answers):
        return "the service refuses the credentials"
    if any(each.is_missing for each in answers):
        return "there is no such stream"
    if all(each.code in (UNKNOWN_OPERATION, NOT_KINESIS) for each in answers):
        return "the endpoint does not answer as Kinesis does"
    return ""
