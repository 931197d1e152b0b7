"""Sessions with keys that are given, or with the temporary credentials of a role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kplpy.aws.client import make_sts_client
from kplpy.config.options import Config

if TYPE_CHECKING:
    import botocore.session


def make_session(
    config: Config,
    keys: tuple[str, str, str | None] | None,
    role_arn: str | None,
    role_session_name: str,
    sts_endpoint_url: str | None,
) -> botocore.session.Session:
    """Return a botocore session for config.session. It sends nothing before its credentials are used.

    config: region, proxy and timeouts of the client of STS.
    keys: access key, secret key and session token. None: the default chain.
    role_arn: the role that these credentials assume, renewed before it expires. None: they are used themselves.
    sts_endpoint_url: URL of STS. None: as botocore finds it.
    """
    from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials
    from botocore.session import Session

    base = Session()
    if keys is not None:
        base.set_credentials(*keys)
    if role_arn is None:
        return base

    def assume() -> dict[str, Any]:
        client = make_sts_client(config, base, sts_endpoint_url)
        given = client.assume_role(RoleArn=role_arn, RoleSessionName=role_session_name)["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    class Role(CredentialProvider):
        METHOD = "custom-assume-role"

        def load(self) -> DeferredRefreshableCredentials:
            return DeferredRefreshableCredentials(refresh_using=assume, method=self.METHOD)

    session = Session()
    session.get_component("credential_provider").insert_before("env", Role())
    return session
