"""Computes the monthly cost of metrics in CloudWatch, and prints the table of docs/metrics-cost.md.

The table is for one producer and one stream, with the metrics of kplpy.metrics.catalogue. Prices are those of
us-east-1, from https://aws.amazon.com/cloudwatch/pricing/: dollars per custom metric and month by tiers, and per 1000
PutMetricData calls. The free tier is left out.
"""

from __future__ import annotations

from math import ceil

from kplpy.metrics.catalogue import DEPTHS, METRICS

SHARDS = (1, 16, 256)
LEVELS = ("summary", "detailed")
SPOOL = {name for name, metric in METRICS.items() if "with a spool" in metric.meaning}  # left out
ERROR_CODES = 1  # ErrorsByCode has a metric for each error code that occurred; here only throttling
TIERS = ((10_000, 0.30), (240_000, 0.10), (750_000, 0.05), (float("inf"), 0.02))  # metrics, dollars each
CALL = 0.01 / 1000
METRICS_A_CALL = 1000
MINUTES = 30 * 24 * 60  # a month; one upload a minute


def metrics(level: str, granularity: str, shards: int) -> int:
    """Return the number of custom metrics, which are names with their dimensions."""
    depth = DEPTHS[granularity]
    count = 0
    for metric in METRICS.values():
        if metric.name in SPOOL:
            continue
        if level == "detailed" or metric.level == "summary":
            places = [1, 1, shards][: min(depth, DEPTHS[metric.finest]) + 1]
            count += sum(places) * (ERROR_CODES if metric.coded else 1) + metric.coded  # and the sum of all codes
    return count


def calls(metrics: int) -> int:
    return ceil(metrics / METRICS_A_CALL) * MINUTES


def dollars(metrics: int) -> float:
    cost, left = calls(metrics) * CALL, float(metrics)
    for size, price in TIERS:
        cost += min(left, size) * price
        left -= min(left, size)
    return cost


def table() -> str:
    lines = [
        "| shards | metrics_level | metrics_granularity | metrics | calls a month | dollars a month |",
        "|---|---|---|---|---|---|",
    ]
    for shards in SHARDS:
        lines.append(f"| {shards} | none | | 0 | 0 | 0.00 |")
        for level in LEVELS:
            for granularity in DEPTHS:
                count = metrics(level, granularity, shards)
                lines.append(
                    f"| {shards} | {level} | {granularity} | {count:,} | {calls(count):,} | {dollars(count):,.2f} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
