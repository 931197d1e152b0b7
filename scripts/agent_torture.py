"""Rotates logs and kills the agent: `scripts/agent_torture.py --rotations 1000 --kills 200 --seed 7`.

`--help` says what is checked. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.integration.agent_torture import main

if __name__ == "__main__":
    sys.exit(main())
