"""CloudWatch for metrics that are sent to it: PutMetricData, GetMetricStatistics, GetMetricData and ListMetrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kplpy.local.model.errors import ServiceError
from kplpy.local.model.metrics import FORGET_SECONDS, KEPT_SECONDS, Metric, Statistics
from kplpy.local.model.pages import page_after

Params = Mapping[str, Any]
Response = dict[str, Any]
Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Namespace, name, and the sorted dimensions of a metric."""

MAX_METRICS = 1000
"""Metrics in one PutMetricData."""
MAX_VALUES = 150
"""Values of one metric in it."""
MAX_DATAPOINTS = 1440
"""Datapoints of one GetMetricStatistics."""
MAX_AGE, MAX_FUTURE = 14 * 24 * 3600.0, 2 * 3600.0
"""How old a new datum may be, and how far in the future."""
LISTED = 500
ACTIVE_SECONDS = 3 * 3600.0
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{0,10})?|100)")


class CloudWatch:
    """The metrics that one account has put. They are kept for a day, in memory alone."""

    def __init__(self) -> None:
        self.metrics: dict[Key, Metric] = {}
        self._forget_at = float("-inf")

    def call(self, operation: str, params: Params, now: float) -> Response:
        """Carry out one of OPERATIONS. The caller has checked the members of `params`."""
        return OPERATIONS[operation](self, params, now)

    def _put(self, params: Params, now: float) -> Response:
        namespace, data = params["Namespace"], params.get("MetricData") or []
        if namespace.startswith("AWS/"):
            raise _invalid("The value AWS/ for parameter Namespace is invalid: it is reserved for AWS.")
        if not data:
            raise ServiceError("MissingParameter", "The parameter MetricData is required.")
        if len(data) > MAX_METRICS:
            raise _invalid(f"The collection MetricData must not have a size greater than {MAX_METRICS}.")
        checked = [_statistics(datum, f"MetricData.member.{at}", now) for at, datum in enumerate(data, 1)]
        for datum, statistics in zip(data, checked, strict=True):
            key = (namespace, datum["MetricName"], _dimensions(datum))
            metric = self.metrics.setdefault(key, Metric())
            moment, step = _moment(datum, now), 1 if datum.get("StorageResolution") == 1 else 60
            metric.add(moment, step, datum.get("Unit") or "None", statistics, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_SECONDS
            self.metrics = {key: metric for key, metric in self.metrics.items() if now - metric.latest <= KEPT_SECONDS}
        return {}

    def _get_statistics(self, params: Params, now: float) -> Response:
        wanted = [*(params.get("Statistics") or []), *(params.get("ExtendedStatistics") or [])]
        if not wanted:
            raise ServiceError("MissingParameter", "Statistics or ExtendedStatistics is required.")
        for each in params.get("ExtendedStatistics") or []:
            _check_statistic(each)
        start, end, period = params["StartTime"], params["EndTime"], _checked_period(params["Period"])
        if start >= end:
            raise _invalid("The parameter StartTime must be less than the parameter EndTime.")
        if (end - start) / period > MAX_DATAPOINTS:
            raise ServiceError(
                "InvalidParameterCombination",
                f"You have requested up to {math.ceil((end - start) / period)} datapoints, which exceeds the limit of "
                f"{MAX_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the "
                "time range.",
            )
        metric = self.metrics.get((params["Namespace"], params["MetricName"], _dimensions(params)))
        points = metric.periods(start, end, period, params.get("Unit")) if metric is not None else []
        described = [_datapoint(moment, unit, each, params) for moment, unit, each in points]
        return {"Label": params["MetricName"], "Datapoints": described}

    def _get_data(self, params: Params, now: float) -> Response:
        if params["StartTime"] >= params["EndTime"]:
            raise _invalid("The parameter StartTime must be less than the parameter EndTime.")
        results = [
            self._result(each, params) for each in params["MetricDataQueries"] if each.get("ReturnData") is not False
        ]
        return {"MetricDataResults": results, "Messages": []}

    def _result(self, query: Params, params: Params) -> Response:
        stat = query.get("MetricStat")
        if stat is None:
            raise _invalid(f"The query {query['Id']} has no MetricStat: expressions are not supported here.")
        metric, name = stat["Metric"], stat["Stat"]
        if name not in STATISTICS:
            _check_statistic(name)
        key = (metric.get("Namespace") or "", metric.get("MetricName") or "", _dimensions(metric))
        found = self.metrics.get(key)
        start, end, period = params["StartTime"], params["EndTime"], _checked_period(stat["Period"])
        points = found.periods(start, end, period, stat.get("Unit")) if found is not None else []
        if params.get("ScanBy") != "TimestampAscending":
            points.reverse()
        return {
            "Id": query["Id"],
            "Label": query.get("Label") or key[1],
            "Timestamps": [moment for moment, _, _ in points],
            "Values": [_value(each, name) for _, _, each in points],
            "StatusCode": "Complete",
        }

    def _list(self, params: Params, now: float) -> Response:
        chosen = {repr(key): key for key, metric in self.metrics.items() if _is_listed(key, metric, params, now)}
        shown, after = page_after(chosen, params.get("NextToken") or "", LISTED)
        metrics = [
            {
                "Namespace": space,
                "MetricName": name,
                "Dimensions": [{"Name": each, "Value": is_} for each, is_ in pairs],
            }
            for space, name, pairs in shown
        ]
        return {"Metrics": metrics, **({"NextToken": after} if after else {})}


def _is_listed(key: Key, metric: Metric, params: Params, now: float) -> bool:
    namespace, name, dimensions = key
    if params.get("Namespace") not in (None, namespace) or params.get("MetricName") not in (None, name):
        return False
    values = dict(dimensions)
    for each in params.get("Dimensions") or []:
        if each["Name"] not in values or each.get("Value") not in (None, values[each["Name"]]):
            return False
    age = now - metric.latest
    return age <= (ACTIVE_SECONDS if params.get("RecentlyActive") else KEPT_SECONDS)


# --- what is put ---


def _dimensions(holder: Params) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((each["Name"], each["Value"]) for each in holder.get("Dimensions") or []))


def _moment(datum: Params, now: float) -> float:
    moment: float | None = datum.get("Timestamp")
    return now if moment is None else moment


def _statistics(datum: Params, place: str, now: float) -> Statistics:
    """Return what a MetricDatum holds; raise an error for one that the service refuses."""
    moment = _moment(datum, now)
    if not now - MAX_AGE <= moment <= now + MAX_FUTURE:
        raise _invalid(
            f"The parameter {place}.Timestamp must specify a time within the past two weeks or next two hours."
        )
    for each in datum.get("Dimensions") or []:
        if not each["Value"].strip():
            raise _invalid(f"The parameter {place}.Dimensions has a blank value for {each['Name']!r}.")
    given = [name for name in ("Value", "Values", "StatisticValues") if datum.get(name) is not None]
    if len(given) != 1:
        raise ServiceError(
            "InvalidParameterCombination",
            f"The parameters {place}.Value, .Values and .StatisticValues are mutually exclusive and one is required.",
        )
    if "StatisticValues" in given:
        values = datum["StatisticValues"]
        numbers = [values[each] for each in ("SampleCount", "Sum", "Minimum", "Maximum")]
        _check_numbers(numbers, place)
        if numbers[0] <= 0 or numbers[2] > numbers[3]:
            raise _invalid(
                f"The parameter {place}.StatisticValues has a SampleCount of 0 or a Minimum above the Maximum."
            )
        return Statistics.of_set(*numbers)
    values = datum["Values"] if "Values" in given else [datum["Value"]]
    counts = datum.get("Counts") or [1.0] * len(values)
    if not 1 <= len(values) <= MAX_VALUES or len(counts) != len(values):
        raise _invalid(f"{place} must have 1 to {MAX_VALUES} Values, and as many Counts.")
    _check_numbers([*values, *counts], place)
    if min(counts) <= 0:
        raise _invalid(f"The Counts of {place} must be above 0; got {min(counts)}.")
    return Statistics.of_values(values, counts)


def _check_numbers(numbers: Iterable[float], place: str) -> None:
    for each in numbers:
        if not abs(each) <= 2.0**360:  # also true for NaN
            raise _invalid(
                f"The value {each!r} for parameter {place} is invalid: it is no number from -2^360 to 2^360."
            )


# --- what is asked for ---

STATISTICS: Mapping[str, Callable[[Statistics], float]] = {
    "SampleCount": lambda each: each.count,
    "Sum": lambda each: each.total,
    "Average": lambda each: each.total / each.count,
    "Minimum": lambda each: each.low,
    "Maximum": lambda each: each.high,
}


def _value(statistics: Statistics, name: str) -> float:
    if name in STATISTICS:
        return STATISTICS[name](statistics)
    return statistics.percentile(float(name[1:]))


def _datapoint(moment: float, unit: str, statistics: Statistics, params: Params) -> Response:
    point: Response = {"Timestamp": moment, "Unit": unit}
    for name in params.get("Statistics") or []:
        point[name] = _value(statistics, name)
    extended = {name: _value(statistics, name) for name in params.get("ExtendedStatistics") or []}
    return {**point, "ExtendedStatistics": extended} if extended else point


def _check_statistic(name: str) -> None:
    if not _PERCENTILE.fullmatch(name):
        raise _invalid(f"The value {name} for a statistic is not supported here: only p0.0 to p100.")


def _checked_period(period: int) -> int:
    if period not in (1, 5, 10, 30) and period % 60:
        raise _invalid(f"The parameter Period must be 1, 5, 10, 30 or a multiple of 60, got {period}.")
    return period


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterValue", message)


OPERATIONS: Mapping[str, Callable[[CloudWatch, Params, float], Response]] = {
    "CloudWatch.PutMetricData": CloudWatch._put,
    "CloudWatch.GetMetricStatistics": CloudWatch._get_statistics,
    "CloudWatch.GetMetricData": CloudWatch._get_data,
    "CloudWatch.ListMetrics": CloudWatch._list,
}
