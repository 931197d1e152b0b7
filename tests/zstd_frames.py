"""zstd frames, made and read by Python's own module (3.14 and later), else by the package zstandard."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd

    decompress = zstd.decompress

    def compress(message: bytes, window_log: int | None = None) -> bytes:
        """Return a frame that announces its size. window_log: log2 of the largest window that it may use."""
        return zstd.compress(message, options=_options(window_log))

    def stream(message: bytes, window_log: int) -> bytes:
        """Return a frame that does not announce its size, so that it asks for a window of 2**window_log bytes."""
        compressor = zstd.ZstdCompressor(options=_options(window_log))
        return compressor.compress(message) + compressor.flush()

    def _options(window_log: int | None) -> dict[int, int]:
        level: dict[int, int] = {zstd.CompressionParameter.compression_level: 1}
        return level if window_log is None else {**level, zstd.CompressionParameter.window_log: window_log}

else:
    import zstandard

    decompress = zstandard.decompress

    def compress(message: bytes, window_log: int | None = None) -> bytes:
        """Return a frame that announces its size. window_log: log2 of the largest window that it may use."""
        return _compressor(window_log).compress(message)

    def stream(message: bytes, window_log: int) -> bytes:
        """Return a frame that does not announce its size, so that it asks for a window of 2**window_log bytes."""
        made = _compressor(window_log).compressobj()
        return made.compress(message) + made.flush()

    def _compressor(window_log: int | None) -> zstandard.ZstdCompressor:
        if window_log is None:
            return zstandard.ZstdCompressor(level=1)
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log, compression_level=1)
        return zstandard.ZstdCompressor(compression_params=parameters)
