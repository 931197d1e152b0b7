"""A mark for tests that need operations which older versions of botocore do not know."""

from __future__ import annotations

import pytest
from botocore.loaders import Loader

newest_botocore = pytest.mark.skipif(
    "CreateQueue" not in Loader().load_service_model("kinesis", "service-2")["operations"],
    reason="the installed botocore does not have these operations of Kinesis",
)
