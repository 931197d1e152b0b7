"""The agent: follows log files and sends their records, with the Kinesis Agent's configuration. See docs/agent.md."""

from __future__ import annotations

from kplpy.agent.agent import Agent

__all__ = ["Agent"]
