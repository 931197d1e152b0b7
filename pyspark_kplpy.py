"""Lets Spark find the data source `kplpy-kinesis` by its name. Spark imports every top-level module pyspark_*.

If one of these modules raises, Spark finds none of the others. So this one never does: without Spark 4, pyarrow or
what kplpy needs, it only defines nothing.
"""

try:
    from kplpy.integrations.spark import KinesisDataSource as DefaultSource  # noqa: F401  # the name that Spark expects
except Exception:
    pass
