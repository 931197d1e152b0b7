"""Spans for puts."""
