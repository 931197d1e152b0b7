"""Ready-made values for Config.on_failure, which keep records that failed.

DeadLetterFile appends them to a file, which `kplpy put --from-failed` sends again.
DeadLetterStream puts them on another stream.
"""

from __future__ import annotations

from kplpy.dead_letters.file import DeadLetterFile as DeadLetterFile
from kplpy.dead_letters.stream import DeadLetterStream as DeadLetterStream

__all__ = ["DeadLetterFile", "DeadLetterStream"]
