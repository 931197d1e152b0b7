"""A Spark session for the tests, and a sink to a local Kinesis. Needs the dependency group `distributed` and Java."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import LocalKinesis

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "2",
    "spark.log.level": "OFF",
}


def java_is_here() -> bool:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java") is not None or (home is not None and (Path(home) / "bin/java").exists())


def make_session(master: str) -> Any:
    """Start Spark, or skip the test if pyspark or Java is missing."""
    pytest.importorskip("pyspark", reason="pyspark is not installed (dependency group distributed)")
    if not java_is_here():
        pytest.skip("Spark needs Java, and there is no java on PATH or in JAVA_HOME")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("kplpy")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def place_of(kinesis: LocalKinesis) -> dict[str, str]:
    """Return the options that lead to the local Kinesis. Small batches keep the tests short."""
    return {
        "kinesis.region": kinesis.region_name,
        "kinesis.endpointUrl": kinesis.endpoint_url,
        "kinesis.awsAccessKeyId": "local",
        "kinesis.awsSecretKey": "local",
    }
