"""Drivers of kplpy and of other producers, each in an environment of its own."""
