"""Resource: what streams, consumers, queues and channels have in common."""

from __future__ import annotations


class Resource:
    """A thing of the account with an ARN, which can have tags and a policy.

    tags: values by key
    policy: the resource policy as JSON text; None without one
    """

    def __init__(self, arn: str) -> None:
        self.arn = arn
        self.tags: dict[str, str] = {}
        self.policy: str | None = None
