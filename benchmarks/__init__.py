"""Measurements of kplpy and other producers. They assert nothing, because machines differ; compare within one run."""
