"""The compressed batch: a plain Kinesis record that holds a whole batch, compressed (docs/format.md).

    MAGIC (4) | version (1) | codec (1) | CRC-32 (4, big-endian) | size (varint) | payload

The payload, uncompressed, is the protobuf message AggregatedRecord (schema.py) without the KPL's magic and MD5. `size`
and the CRC-32 are those of the uncompressed message. A reader that does not know the format gets one record of opaque
bytes, and the KCL's rule on hash keys does not apply to it.
"""

from __future__ import annotations

import functools
import sys
import threading
import zlib
from collections.abc import Callable
from typing import Any, Literal

from kplpy.errors import BatchTooLargeError, UnreadableBatchError
from kplpy.wire.varint import read_varint, varint

Codec = Literal["none", "gzip", "zstd"]

MAGIC = b"\xcbkpb"
"""No text in UTF-8 begins with it, and no aggregate of the KPL, gzip or zstd frame, or Avro or Glue schema header."""
VERSION = 1
LONGEST_HEADER = 15
"""Bytes of the longest header, of a batch of less than 2**35 bytes."""
MAX_UNCOMPRESSED = 16 << 20
"""The most uncompressed bytes that kplpy reads from one Kinesis record by default."""
SMALLEST_WINDOW = 8 << 20
"""Bytes of window that every zstd frame may ask for (RFC 8878, 3.1.1.1.2). A larger batch may have its own size."""

_PIECE = 1 << 20
_CODECS: tuple[Codec, ...] = ("none", "gzip", "zstd")
_CODEC_AT = 5
_CRC_AT = 6
_SIZE_AT = 10
_GZIP = 31  # zlib's window bits for a gzip member


def check_codec(codec: Codec) -> None:
    """Raise ImportError if the library for the codec is not installed."""
    if codec == "zstd":
        _zstd_decompressor()


def header_size(size: int) -> int:
    """Return the bytes of the header of a batch with `size` bytes uncompressed."""
    return _SIZE_AT + max(1, -(-size.bit_length() // 7))


def pack_batch(message: bytes | bytearray | memoryview, codec: Codec, level: int) -> bytes:
    """Return the Kinesis record's data for a batch.

    message: the AggregatedRecord, serialised.
    level: the codec's compression level. "none" ignores it.

    Holds no lock. gzip and zstd release the GIL. Raises ImportError for "zstd" without a zstd library.
    """
    payload = message if codec == "none" else _compressor(codec, level)(message)
    header = bytearray(MAGIC)
    header += bytes((VERSION, _CODECS.index(codec)))
    header += zlib.crc32(message).to_bytes(4, "big")
    header += varint(len(message))
    return b"".join((header, payload))


def unpack_batch(data: bytes, max_size: int | None = MAX_UNCOMPRESSED) -> bytes | None:
    """Return the AggregatedRecord of a compressed batch, serialised. None if the data is not a compressed batch.

    max_size: the most bytes that the batch may have uncompressed. None: any number.

    Data whose size or CRC-32 is wrong, or which cannot be decompressed, only looks like a batch: None. Raises
    BatchTooLargeError before it decompresses a batch of more than max_size bytes, and never decompresses more than the
    batch says. A zstd frame that asks for more memory (_window_log) cannot be decompressed. Raises
    UnreadableBatchError for a version or codec that this kplpy does not know, and for zstd without a zstd library.
    """
    if not data.startswith(MAGIC):
        return None
    try:
        size, start = read_varint(data, _SIZE_AT, LONGEST_HEADER - _SIZE_AT)
    except IndexError:
        return None
    version, number = data[len(MAGIC)], data[_CODEC_AT]
    if version != VERSION or number >= len(_CODECS):
        raise UnreadableBatchError(
            f"a compressed batch of version {version} and codec {number}: this kplpy reads version {VERSION} with "
            "codecs 0 (none), 1 (gzip) and 2 (zstd)"
        )
    if max_size is not None and size > max_size:
        raise BatchTooLargeError(
            f"a compressed batch of {len(data):,} bytes has {size:,} bytes uncompressed, more than max_uncompressed, "
            f"{max_size:,}; none of its records is returned",
            max_size,
        )
    payload = memoryview(data)[start:]
    message = bytes(payload) if number == 0 else _decompressor(_CODECS[number])(payload, size)
    if message is None or len(message) != size:
        return None
    return message if zlib.crc32(message) == int.from_bytes(data[_CRC_AT:_SIZE_AT], "big") else None


_Compress = Callable[["bytes | bytearray | memoryview"], bytes]


@functools.cache
def _compressor(codec: Codec, level: int) -> _Compress:
    return functools.partial(_gzip, level) if codec == "gzip" else _zstd_compressor(level)


def _gzip(level: int, message: bytes | bytearray | memoryview) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    return compressor.compress(message) + compressor.flush()


def _gunzip(payload: memoryview, size: int) -> bytes | None:
    try:
        # One byte more than announced, so that a longer content is seen.
        return zlib.decompressobj(_GZIP).decompress(payload, size + 1)
    except zlib.error:
        return None


def _window_log(size: int) -> int:
    """Return log2 of the largest zstd window for a batch of `size` bytes: 23 (8 MiB) to 27 (zstd's default)."""
    return min(max(size, SMALLEST_WINDOW) - 1, (1 << 27) - 1).bit_length()


def _decompressor(codec: Codec) -> Callable[[memoryview, int], bytes | None]:
    if codec == "gzip":
        return _gunzip
    try:
        return _zstd_decompressor()
    except ImportError as error:
        raise UnreadableBatchError(f"a batch compressed with zstd: {error}") from error


if sys.version_info >= (3, 14):

    def _zstd_compressor(level: int) -> _Compress:
        from compression import zstd

        return functools.partial(zstd.compress, level=level)

    @functools.cache
    def _zstd_decompressor() -> Callable[[memoryview, int], bytes | None]:
        from compression import zstd

        def decompress(payload: memoryview, size: int) -> bytes | None:
            try:
                options = {zstd.DecompressionParameter.window_log_max: _window_log(size)}
                return zstd.ZstdDecompressor(options=options).decompress(payload, size + 1)
            except zstd.ZstdError:
                return None

        return decompress

else:

    def _zstandard() -> Any:
        try:
            import zstandard
        except ImportError:
            raise ImportError("pip install 'kplpy[zstd]', which brings zstandard") from None
        return zstandard

    def _zstd_compressor(level: int) -> _Compress:
        zstandard = _zstandard()
        compressors = threading.local()  # a ZstdCompressor must not be used by two threads at once

        def compress(message: bytes | bytearray | memoryview) -> bytes:
            compressor = getattr(compressors, "value", None)
            if compressor is None:
                compressor = compressors.value = zstandard.ZstdCompressor(level=level)
            compressed: bytes = compressor.compress(message)
            return compressed

        return compress

    @functools.cache
    def _zstd_decompressor() -> Callable[[memoryview, int], bytes | None]:
        zstandard = _zstandard()

        def decompress(payload: memoryview, size: int) -> bytes | None:
            try:
                # Not ZstdDecompressor.decompress: it allocates what the frame says, whatever its max_output_size.
                decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _window_log(size))
                # One byte more than announced, so that a longer content is seen. In pieces, because read() allocates
                # all that it is asked for.
                content = bytearray()
                with decompressor.stream_reader(payload) as reader:
                    while piece := reader.read(min(_PIECE, size + 1 - len(content))):
                        content += piece
                return bytes(content)
            except zstandard.ZstdError:
                return None

        return decompress
