"""The compressed batch: what is written, and what a reader makes of damaged ones."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from kplpy import BatchTooLargeError, UnreadableBatchError
from kplpy.wire.compressed import MAGIC, Codec, pack_batch, unpack_batch
from tests import zstd_frames

MESSAGE = b"abcdefgh" * 100
CODECS: tuple[Codec, ...] = ("none", "gzip", "zstd")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1 << 20])
def test_a_batch_comes_back(codec: Codec, size: int) -> None:
    message = (MESSAGE * (size // len(MESSAGE) + 1))[:size]
    assert unpack_batch(pack_batch(message, codec, 1)) == message


def test_the_header_is_as_documented() -> None:
    data = pack_batch(MESSAGE, "none", 0)
    assert data == b"\xcbkpb\x01\x00" + zlib.crc32(MESSAGE).to_bytes(4, "big") + b"\xa0\x06" + MESSAGE


def test_gzip_and_zstd_are_the_libraries_own_formats() -> None:
    assert gzip.decompress(pack_batch(MESSAGE, "gzip", 6)[12:]) == MESSAGE
    assert zstd_frames.decompress(pack_batch(MESSAGE, "zstd", 1)[12:]) == MESSAGE


@pytest.mark.parametrize("data", [b"", b"plain", MAGIC, MAGIC[:3], b"\xf3\x89\x9a\xc2" + bytes(40)])
def test_other_data_is_no_batch(data: bytes) -> None:
    assert unpack_batch(data) is None


@pytest.mark.parametrize("codec", CODECS)
def test_damage_makes_it_no_batch(codec: Codec) -> None:
    data = pack_batch(MESSAGE, codec, 1)
    for place in (*range(6, 12), len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 0x01
        assert unpack_batch(bytes(damaged)) in (None, MESSAGE)  # gzip has bytes that do not matter
    for end in range(len(data)):
        assert unpack_batch(data[:end]) in (None, MESSAGE)
    assert unpack_batch(data[:-20]) is None


@pytest.mark.parametrize("codec", CODECS)
def test_a_size_that_is_not_the_contents_makes_it_no_batch(codec: Codec) -> None:
    data = pack_batch(MESSAGE, codec, 1)
    for wrong in (b"\x9f\x06", b"\xa1\x06"):
        assert unpack_batch(data[:10] + wrong + data[12:]) is None


def test_an_unknown_version_or_codec_is_an_error() -> None:
    data = pack_batch(MESSAGE, "none", 0)
    with pytest.raises(UnreadableBatchError, match="version 2 and codec 0"):
        unpack_batch(data[:4] + b"\x02" + data[5:])
    with pytest.raises(UnreadableBatchError, match="version 1 and codec 3"):
        unpack_batch(data[:5] + b"\x03" + data[6:])


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_announces_far_more_than_it_has_takes_no_memory(codec: Codec) -> None:
    data = pack_batch(MESSAGE, codec, 1)
    announced = b"\xff\xff\xff\xff\x7f"  # nearly 32 GiB
    tracemalloc.start()
    try:
        assert unpack_batch(data[:10] + announced + data[12:], None) is None
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", CODECS)
def test_the_bound_is_on_the_announced_size(codec: Codec) -> None:
    data = pack_batch(MESSAGE, codec, 1)
    assert unpack_batch(data, 800) == MESSAGE
    assert unpack_batch(data, None) == MESSAGE
    with pytest.raises(BatchTooLargeError, match="800 bytes uncompressed, more than max_uncompressed, 799"):
        unpack_batch(data, 799)


def test_a_zstd_frame_may_not_ask_for_more_memory_than_the_batch_needs() -> None:
    header = pack_batch(MESSAGE, "zstd", 1)[:12]
    assert unpack_batch(header + zstd_frames.stream(MESSAGE, 23)) == MESSAGE
    assert unpack_batch(header + zstd_frames.stream(MESSAGE, 24)) is None
    large = MESSAGE * 20_000  # 16 MB
    header = pack_batch(large, "zstd", 1)[:14]
    assert unpack_batch(header + zstd_frames.compress(large, 24)) == large
