"""Kills producers with a spool at random moments: `scripts/spool_kills.py --kills 1000 --seed 7`.

`--help` says what is checked. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.integration.spool_kills import main

if __name__ == "__main__":
    sys.exit(main())
