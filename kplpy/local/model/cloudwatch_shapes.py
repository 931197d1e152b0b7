"""The members of requests of CloudWatch and their rules, from botocore's model of the API.

`python scripts/local_operations.py --write` makes this file; do not edit it. tests/unit/local/model/test_operations.py
compares it with botocore.
"""

from __future__ import annotations

from collections.abc import Mapping

from kplpy.local.model.rules import FLAG, NUMBER, ListOf, MapOf, Member, Structure, Text, Time, Whole

_METRIC_ID = Text(low=1, high=255)
_NAMESPACE = Text(low=1, high=255, pattern="[^:].*")
_METRIC_NAME = Text(low=1, high=255)
_DIMENSION_NAME = Text(low=1, high=255)
_DIMENSION_VALUE = Text(low=1, high=1024)
_DIMENSION = Structure(
    {
        "Name": Member(_DIMENSION_NAME, required=True),
        "Value": Member(_DIMENSION_VALUE, required=True),
    }
)
_DIMENSIONS = ListOf(_DIMENSION, high=30)
_METRIC = Structure(
    {
        "Namespace": Member(_NAMESPACE),
        "MetricName": Member(_METRIC_NAME),
        "Dimensions": Member(_DIMENSIONS),
    }
)
_PERIOD = Whole(low=1)
_STAT = Text()
_STANDARD_UNIT = Text(
    choices=(
        "Seconds",
        "Microseconds",
        "Milliseconds",
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Percent",
        "Count",
        "Bytes/Second",
        "Kilobytes/Second",
        "Megabytes/Second",
        "Gigabytes/Second",
        "Terabytes/Second",
        "Bits/Second",
        "Kilobits/Second",
        "Megabits/Second",
        "Gigabits/Second",
        "Terabits/Second",
        "Count/Second",
        "None",
    )
)
_METRIC_STAT = Structure(
    {
        "Metric": Member(_METRIC, required=True),
        "Period": Member(_PERIOD, required=True),
        "Stat": Member(_STAT, required=True),
        "Unit": Member(_STANDARD_UNIT),
    }
)
_METRIC_EXPRESSION = Text(low=1, high=2048)
_METRIC_LABEL = Text()
_ACCOUNT_ID = Text(low=1, high=255)
_METRIC_DATA_QUERY = Structure(
    {
        "Id": Member(_METRIC_ID, required=True),
        "MetricStat": Member(_METRIC_STAT),
        "Expression": Member(_METRIC_EXPRESSION),
        "Label": Member(_METRIC_LABEL),
        "ReturnData": Member(FLAG),
        "Period": Member(_PERIOD),
        "AccountId": Member(_ACCOUNT_ID),
    }
)
_METRIC_DATA_QUERIES = ListOf(_METRIC_DATA_QUERY)
_NEXT_TOKEN = Text()
_SCAN_BY = Text(choices=("TimestampDescending", "TimestampAscending"))
_GET_METRIC_DATA_MAX_DATAPOINTS = Whole(low=-2147483648)
_GET_METRIC_DATA_LABEL_TIMEZONE = Text()
_LABEL_OPTIONS = Structure(
    {
        "Timezone": Member(_GET_METRIC_DATA_LABEL_TIMEZONE),
    }
)
_STATISTIC = Text(choices=("SampleCount", "Average", "Sum", "Minimum", "Maximum"))
_STATISTICS = ListOf(_STATISTIC, low=1, high=5)
_EXTENDED_STATISTIC = Text()
_EXTENDED_STATISTICS = ListOf(_EXTENDED_STATISTIC, low=1, high=10)
_DIMENSION_FILTER = Structure(
    {
        "Name": Member(_DIMENSION_NAME, required=True),
        "Value": Member(_DIMENSION_VALUE),
    }
)
_DIMENSION_FILTERS = ListOf(_DIMENSION_FILTER, high=10)
_RECENTLY_ACTIVE = Text(choices=("PT3H",))
_STATISTIC_SET = Structure(
    {
        "SampleCount": Member(NUMBER, required=True),
        "Sum": Member(NUMBER, required=True),
        "Minimum": Member(NUMBER, required=True),
        "Maximum": Member(NUMBER, required=True),
    }
)
_VALUES = ListOf(NUMBER)
_COUNTS = ListOf(NUMBER)
_STORAGE_RESOLUTION = Whole(low=1)
_METRIC_DATUM = Structure(
    {
        "MetricName": Member(_METRIC_NAME, required=True),
        "Dimensions": Member(_DIMENSIONS),
        "Timestamp": Member(Time()),
        "Value": Member(NUMBER),
        "StatisticValues": Member(_STATISTIC_SET),
        "Values": Member(_VALUES),
        "Counts": Member(_COUNTS),
        "Unit": Member(_STANDARD_UNIT),
        "StorageResolution": Member(_STORAGE_RESOLUTION),
    }
)
_METRIC_DATA = ListOf(_METRIC_DATUM)
_ENTITY_KEY_ATTRIBUTES_MAP_KEY_STRING = Text(low=1, high=32)
_ENTITY_KEY_ATTRIBUTES_MAP_VALUE_STRING = Text(low=1, high=2048)
_ENTITY_KEY_ATTRIBUTES_MAP = MapOf(
    _ENTITY_KEY_ATTRIBUTES_MAP_KEY_STRING, _ENTITY_KEY_ATTRIBUTES_MAP_VALUE_STRING, low=2, high=4
)
_ENTITY_ATTRIBUTES_MAP_KEY_STRING = Text(low=1, high=256)
_ENTITY_ATTRIBUTES_MAP_VALUE_STRING = Text(low=1, high=2048)
_ENTITY_ATTRIBUTES_MAP = MapOf(_ENTITY_ATTRIBUTES_MAP_KEY_STRING, _ENTITY_ATTRIBUTES_MAP_VALUE_STRING, low=0, high=10)
_ENTITY = Structure(
    {
        "KeyAttributes": Member(_ENTITY_KEY_ATTRIBUTES_MAP),
        "Attributes": Member(_ENTITY_ATTRIBUTES_MAP),
    }
)
_ENTITY_METRIC_DATA = Structure(
    {
        "Entity": Member(_ENTITY),
        "MetricData": Member(_METRIC_DATA),
    }
)
_ENTITY_METRIC_DATA_LIST = ListOf(_ENTITY_METRIC_DATA)

OPERATIONS: Mapping[str, Mapping[str, Member]] = {
    "GetMetricData": {
        "MetricDataQueries": Member(_METRIC_DATA_QUERIES, required=True),
        "StartTime": Member(Time(), required=True),
        "EndTime": Member(Time(), required=True),
        "NextToken": Member(_NEXT_TOKEN),
        "ScanBy": Member(_SCAN_BY),
        "MaxDatapoints": Member(_GET_METRIC_DATA_MAX_DATAPOINTS),
        "LabelOptions": Member(_LABEL_OPTIONS),
    },
    "GetMetricStatistics": {
        "Namespace": Member(_NAMESPACE, required=True),
        "MetricName": Member(_METRIC_NAME, required=True),
        "Dimensions": Member(_DIMENSIONS),
        "StartTime": Member(Time(), required=True),
        "EndTime": Member(Time(), required=True),
        "Period": Member(_PERIOD, required=True),
        "Statistics": Member(_STATISTICS),
        "ExtendedStatistics": Member(_EXTENDED_STATISTICS),
        "Unit": Member(_STANDARD_UNIT),
    },
    "ListMetrics": {
        "Namespace": Member(_NAMESPACE),
        "MetricName": Member(_METRIC_NAME),
        "Dimensions": Member(_DIMENSION_FILTERS),
        "NextToken": Member(_NEXT_TOKEN),
        "RecentlyActive": Member(_RECENTLY_ACTIVE),
        "IncludeLinkedAccounts": Member(FLAG),
        "OwningAccount": Member(_ACCOUNT_ID),
    },
    "PutMetricData": {
        "Namespace": Member(_NAMESPACE, required=True),
        "MetricData": Member(_METRIC_DATA),
        "EntityMetricData": Member(_ENTITY_METRIC_DATA_LIST),
        "StrictEntityValidation": Member(FLAG),
    },
}
"""By operation: the members of its request."""

TIMES = frozenset(["Timestamp", "Timestamps"])
"""The members of responses that are times."""
