"""The compiled code does what its Python twin does, for any input, byte for byte."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kplpy import accelerator

pytestmark = pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")
native = accelerator.native

# around the sizes at which MD5 has another block, and base64 other code
SIZES = st.one_of(
    st.integers(0, 300), st.sampled_from([n + d for n in (56, 64, 120, 128, 4096) for d in (-1, 0, 1)] + [70_000])
)


@pytest.fixture(params=[0, 1, 2], ids=["plain", "avx2", "avx512"], scope="module")
def vectors(request: pytest.FixtureRequest) -> Iterator[None]:
    best = ("plain code", "AVX2", "AVX-512").index(native.vectors())
    if not native.use_vectors(request.param):
        pytest.skip("this processor cannot")
    yield
    native.use_vectors(best)


def some_bytes(size: int, seed: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


messages = st.builds(some_bytes, SIZES, st.integers(0, 1 << 31))


@pytest.mark.usefixtures("vectors")
@given(st.lists(messages, max_size=40))
@example([b""] * 9)
def test_md5s_of_many_messages(many: list[bytes]) -> None:
    assert native.md5_all(many) == b"".join(hashlib.md5(each).digest() for each in many)


@pytest.mark.usefixtures("vectors")
@given(messages)
def test_base64(data: bytes) -> None:
    assert native.base64(data) == b64encode(data)
