"""PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy. Policies are kept and shown, not enforced."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.errors import not_found, validation


def _put(account: Account, params: Params, now: float) -> Response:
    resource = account.resource(params["ResourceARN"], now)
    resource.policy = _checked(params["Policy"])
    return {}


def _checked(policy: str) -> str:
    """Return a policy; raise ValidationException unless it is a JSON object with statements."""
    try:
        document = json.loads(policy)
    except (ValueError, RecursionError) as error:
        raise validation(f"The policy is not JSON: {error}") from error
    statements = document.get("Statement") if isinstance(document, dict) else None
    for each in statements if isinstance(statements, list) and statements else [statements]:
        for member in ("Effect", "Principal", "Action"):
            if not isinstance(each, dict) or member not in each:
                raise validation(f"The policy has no statement with Effect, Principal and Action (missing: {member}).")
    return policy


def _get(account: Account, params: Params, now: float) -> Response:
    policy = account.resource(params["ResourceARN"], now).policy
    if policy is None:
        raise _no_policy(params)
    return {"Policy": policy}


def _delete(account: Account, params: Params, now: float) -> Response:
    resource = account.resource(params["ResourceARN"], now)
    if resource.policy is None:
        raise _no_policy(params)
    resource.policy = None
    return {}


def _no_policy(params: Params) -> Exception:
    return not_found(f"No resource policy found for resource ARN {params['ResourceARN']}.")


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "PutResourcePolicy": _put,
    "GetResourcePolicy": _get,
    "DeleteResourcePolicy": _delete,
}

READ_ONLY_OPERATIONS = frozenset({"GetResourcePolicy"})
