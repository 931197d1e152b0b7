"""Records for the tests of the wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Put:
    data: bytes
    partition_key: str
    explicit_hash_key: str | None = None
    headers: Mapping[str, str | None] | None = None


def partition_keys() -> st.SearchStrategy[str]:
    # a few keys that come again and again, beside any text that UTF-8 can hold
    return st.sampled_from(["a", "customer-7", "Ω", "🙂"]) | st.text(
        st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256
    )


def hash_keys() -> st.SearchStrategy[str]:
    return (st.sampled_from([0, 1, 2**127, 2**128 - 1]) | st.integers(0, 2**128 - 1)).map(str)


def headers() -> st.SearchStrategy[dict[str, str | None]]:
    """Some headers: common ones, any text that UTF-8 can hold, values that are missing, empty or long."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    names = st.sampled_from(["content-type", "traceparent", "é"]) | text.filter(bool)
    return st.dictionaries(names, st.none() | text | st.integers(100, 20_000).map("x".__mul__), min_size=1, max_size=5)


def puts(
    with_hash_key: st.SearchStrategy[str | None] | None = None,
    with_headers: st.SearchStrategy[dict[str, str | None] | None] | None = None,
) -> st.SearchStrategy[Put]:
    return st.builds(
        Put,
        data=st.binary(max_size=300),
        partition_key=partition_keys(),
        explicit_hash_key=st.none() | hash_keys() if with_hash_key is None else with_hash_key,
        headers=st.none() | headers() if with_headers is None else with_headers,
    )
