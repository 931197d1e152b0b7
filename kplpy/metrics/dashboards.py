"""Dashboards for CloudWatch, by the KPL's names and dimensions, and for Grafana, by those of the Prometheus sink."""

from __future__ import annotations

from typing import Any

# (title, ((metric, statistic), ...)); two widgets a row
_CLOUDWATCH: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("User records put", (("UserRecordsReceived", "Sum"), ("UserRecordsPut", "Sum"), ("UserRecordExpired", "Sum"))),
    ("Delivered, share of all", (("UserRecordsPut", "Average"), ("KinesisRecordsPut", "Average"))),
    ("Bytes", (("UserRecordsDataPut", "Sum"), ("KinesisRecordsDataPut", "Sum"), ("DataSentInVain", "Sum"))),
    ("Errors", (("AllErrors", "Sum"),)),
    ("Time to answer, ms", (("TimeToAnswer", "Average"), ("TimeToAnswer", "Maximum"))),
    (
        "Buffering and requests, ms",
        (("BufferingTime", "Average"), ("RequestTime", "Average"), ("RequestTime", "Maximum")),
    ),
    ("Records without an outcome", (("UserRecordsPending", "Maximum"),)),
    ("Age of the oldest record, ms", (("OldestRecordAge", "Maximum"),)),
    ("Packing", (("UserRecordsPerKinesisRecord", "Average"), ("KinesisRecordsPerPutRecordsRequest", "Average"))),
    ("Retries", (("RetriesPerRecord", "Average"), ("PossibleDuplicates", "Sum"))),
)
_SHARDS = (("Headroom of each shard, %", "ShardHeadroom", "Minimum"), ("Errors of each shard", "AllErrors", "Sum"))


def cloudwatch(stream: str, region: str, namespace: str = "KinesisProducerLibrary") -> dict[str, Any]:
    """Return the body of a PutDashboard.

    Widgets of detailed metrics, and of metrics by shard, stay empty unless the producer's options send these.
    """
    widgets: list[dict[str, Any]] = []
    for title, shown in _CLOUDWATCH:
        metrics = [[namespace, name, "StreamName", stream, {"stat": stat}] for name, stat in shown]
        widgets.append(_widget(len(widgets), title, region, metrics))
    code = f"SEARCH('{{{namespace},ErrorCode,StreamName}} MetricName=\"ErrorsByCode\" StreamName=\"{stream}\"', 'Sum')"
    widgets.append(_widget(len(widgets), "Errors by code", region, [[{"expression": code, "id": "codes"}]]))
    use = [[namespace, "BufferUse", {"stat": "Maximum"}]]
    widgets.append(_widget(len(widgets), "Use of the buffer, %", region, use))
    for title, name, stat in _SHARDS:
        search = f"SEARCH('{{{namespace},StreamName,ShardId}} MetricName=\"{name}\" StreamName=\"{stream}\"', '{stat}')"
        widgets.append(_widget(len(widgets), title, region, [[{"expression": search, "id": "shards"}]]))
    return {"widgets": widgets}


def _widget(number: int, title: str, region: str, metrics: list[list[Any]]) -> dict[str, Any]:
    properties = {"title": title, "view": "timeSeries", "region": region, "period": 60, "metrics": metrics}
    place = {"x": 12 * (number % 2), "y": 6 * (number // 2), "width": 12, "height": 6}
    return {"type": "metric", **place, "properties": properties}


def _rate(name: str, by: str = "stream") -> str:
    return f'sum by ({by}) (rate({name}{{stream=~"$stream"}}[$__rate_interval]))'


def _mean(name: str) -> str:
    return f"{_rate(f'{name}_sum')} / {_rate(f'{name}_count')}"


def _quantile(share: float) -> str:
    return f"histogram_quantile({share}, {_rate('kplpy_time_to_answer_seconds_bucket', 'stream, le')})"


def _of(name: str, by: str = "stream") -> str:
    return f'max by ({by}) ({name}{{stream=~"$stream"}})'


# (title, unit, expressions)
_GRAFANA: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("User records", "cps", (_rate("kplpy_user_records_received_total"), _rate("kplpy_user_records_put_total"))),
    ("User records that failed", "cps", (_rate("kplpy_user_records_failed_total"),)),
    (
        "Bytes",
        "Bps",
        (_rate("kplpy_user_records_data_put_bytes_total"), _rate("kplpy_kinesis_records_data_put_bytes_total")),
    ),
    ("Bytes sent in vain", "Bps", (_rate("kplpy_data_sent_in_vain_bytes_total"),)),
    ("Errors by code", "cps", (_rate("kplpy_errors_total", "stream, error_code"),)),
    ("Errors by shard", "cps", (_rate("kplpy_errors_total", "stream, shard"),)),
    ("Time to answer: p50, p90, p99", "s", (_quantile(0.5), _quantile(0.9), _quantile(0.99))),
    (
        "Mean of buffering and request",
        "s",
        (_mean("kplpy_buffering_time_seconds"), _mean("kplpy_request_time_seconds")),
    ),
    ("Age of the oldest record", "s", (_of("kplpy_oldest_record_age_seconds"),)),
    ("Records without an outcome", "short", (_of("kplpy_user_records_pending"),)),
    ("Use of the buffer", "percentunit", ("max(kplpy_buffer_use_ratio)",)),
    ("Headroom of each shard", "percentunit", (_of("kplpy_shard_headroom_ratio", "stream, shard"),)),
    ("Rate of each shard, of its limit", "percentunit", (_of("kplpy_shard_rate_limit_ratio", "stream, shard"),)),
    ("User records a Kinesis record", "short", (_mean("kplpy_user_records_per_kinesis_record"),)),
)


def grafana() -> dict[str, Any]:
    """Return a dashboard to import, for any Prometheus data source and any streams."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels = []
    for number, (title, unit, expressions) in enumerate(_GRAFANA):
        panels.append(
            {
                "id": number + 1,
                "type": "timeseries",
                "title": title,
                "datasource": source,
                "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + place), "datasource": source, "expr": expression}
                    for place, expression in enumerate(expressions)
                ],
            }
        )
    stream = {
        "name": "stream",
        "type": "query",
        "datasource": source,
        "query": "label_values(kplpy_user_records_put_total, stream)",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }
    return {
        "title": "kplpy",
        "uid": "kplpy",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}, stream]},
        "panels": panels,
    }
