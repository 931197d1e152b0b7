"""Turns responses into outcomes: records are delivered, retried, or failed."""
