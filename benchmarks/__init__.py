"""Measurements. They assert nothing: machines differ, so compare within one run."""
