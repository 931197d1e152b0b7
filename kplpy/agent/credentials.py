"""The session that the agent signs requests with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kplpy.agent.settings import AgentSettings

if TYPE_CHECKING:
    import botocore.session

ROLE_SESSION, ROLE_SECONDS = "AWSKinesisAgent", 3600
"""Name and duration of the sessions of assumeRoleARN, as the Kinesis Agent has them."""


def make_session(settings: AgentSettings) -> botocore.session.Session | None:
    """Return a session with the configured keys or role. None: neither is configured, so boto's default chain decides.

    The role is assumed with the configured keys, else with the credentials of the default chain. botocore fetches its
    credentials at the first request, and again before they expire.
    """
    if settings.access_key_id is None and settings.assume_role_arn is None:
        return None
    from botocore.session import Session

    session = Session()
    if settings.access_key_id is not None:
        session.set_credentials(settings.access_key_id, settings.secret_access_key or "")
    if settings.assume_role_arn is not None:
        _assume_role(session, settings, settings.assume_role_arn)
    return session


def _assume_role(session: Any, settings: AgentSettings, role: str) -> None:
    """Give the session the credentials of the role."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    def make_client(service: str, **arguments: Any) -> Any:
        region = settings.kinesis_region or session.get_config_variable("region") or "us-east-1"
        return session.create_client(
            service, **{"region_name": region, "endpoint_url": settings.sts_endpoint, **arguments}
        )

    more: dict[str, Any] = {"RoleSessionName": ROLE_SESSION, "DurationSeconds": ROLE_SECONDS}
    if settings.assume_role_external_id is not None:
        more["ExternalId"] = settings.assume_role_external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=make_client,
        source_credentials=_Source(session.get_credentials),
        role_arn=role,
        extra_args=more,
    )
    # Sessions have no public way to take refreshable credentials. botocore's own tests and aws-cli set this attribute.
    session._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


class _Source:
    """The credentials that may assume the role, looked up when they are needed."""

    def __init__(self, find: Any) -> None:
        self._credentials = find()

    def get_frozen_credentials(self) -> Any:
        from botocore.exceptions import NoCredentialsError

        if self._credentials is None:
            raise NoCredentialsError
        return self._credentials.get_frozen_credentials()
