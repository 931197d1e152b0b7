"""The members of requests of Kinesis and their rules, from botocore's model of the API.

`python scripts/local_operations.py --write` makes this file; do not edit it. tests/unit/local/model/test_operations.py
compares it with botocore.
"""

from __future__ import annotations

from collections.abc import Mapping

from kplpy.local.model.rules import BLOB, FLAG, ListOf, MapOf, Member, Structure, Text, Time, Whole

_QUEUE_ARN = Text(low=1, high=2048, pattern="arn:aws.*:kinesis:.*:\\d{12}:queue/\\S+")
_RECEIPT_HANDLE = Text(low=1, high=1024)
_ACKNOWLEDGE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY = Structure(
    {
        "ReceiptHandle": Member(_RECEIPT_HANDLE, required=True),
    }
)
_ACKNOWLEDGE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY_LIST = ListOf(
    _ACKNOWLEDGE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY, low=1, high=10
)
_ACKNOWLEDGE_QUEUE_RECORDS_REQUEST_ENTRY = Structure(
    {
        "ReceiptHandle": Member(_RECEIPT_HANDLE, required=True),
    }
)
_ACKNOWLEDGE_QUEUE_RECORDS_REQUEST_ENTRY_LIST = ListOf(_ACKNOWLEDGE_QUEUE_RECORDS_REQUEST_ENTRY, low=1, high=10)
_STREAM_NAME = Text(low=1, high=128, pattern="[a-zA-Z0-9_.-]+")
_TAG_KEY = Text(low=1, high=128)
_TAG_VALUE = Text(low=0, high=256)
_TAG_MAP = MapOf(_TAG_KEY, _TAG_VALUE, low=1, high=200)
_STREAM_ARN = Text(low=1, high=2048, pattern="arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+")
_STREAM_ID = Text(low=1, high=24, pattern="[a-z0-9]{20}-[a-z0-9]{3}")
_CHANNEL_NAME = Text(low=1, high=128, pattern="[a-zA-Z0-9_.-]+")
_ROLE_ARN = Text(low=1, high=512, pattern="arn:aws[-a-z0-9]*:iam::\\d{12}:role/[a-zA-Z_0-9+=,.@\\-_/]+")
_RECORD_FORMAT_TYPE = Text(choices=("GSR_JSON", "JSON", "STRING", "BYTE_ARRAY"))
_GSR_SCHEMA_ARN = Text(
    low=1, high=512, pattern="arn:aws[-a-z0-9]*:glue:[-a-z0-9]+:\\d{12}:schema/[-a-zA-Z0-9_$#.]+/[-a-zA-Z0-9_$#.]+"
)
_RECORD_CONFIGURATION = Structure(
    {
        "RecordFormatType": Member(_RECORD_FORMAT_TYPE, required=True),
        "GSRSchemaARN": Member(_GSR_SCHEMA_ARN),
    }
)
_CHANNEL_STREAM_CONFIGURATION = Structure(
    {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "RecordConfiguration": Member(_RECORD_CONFIGURATION, required=True),
    }
)
_CHANNEL_STREAM_CONFIGURATION_LIST = ListOf(_CHANNEL_STREAM_CONFIGURATION, low=1, high=10000)
_DATA_FRESHNESS_IN_SECONDS = Whole(low=-2147483648)
_BUCKET_ARN = Text(low=1, high=2048, pattern="arn:aws[-a-z0-9]*:s3:::[a-z0-9._-]{3,63}")
_EXPECTED_BUCKET_OWNER = Text(low=12, high=12, pattern="\\d{12}")
_S3_ERROR_OUTPUT_PREFIX = Text(low=1, high=512, pattern="[0-9A-Za-z!\\-_'.*()\\/]+")
_DEAD_LETTER_QUEUE_S3_CONFIGURATION = Structure(
    {
        "BucketARN": Member(_BUCKET_ARN, required=True),
        "ExpectedBucketOwner": Member(_EXPECTED_BUCKET_OWNER, required=True),
        "ErrorOutputPrefix": Member(_S3_ERROR_OUTPUT_PREFIX),
    }
)
_S3_OUTPUT_KEY_TEMPLATE = Text(low=1, high=1024, pattern="[0-9A-Za-z!\\-_'.*()\\/=:{}]+")
_S3_STORAGE_CLASS = Text(choices=("STANDARD", "INTELLIGENT_TIERING", "GLACIER_IR"))
_S3_COMPRESSION_TYPE = Text(choices=("NONE", "GZIP", "ZSTD"))
_S3_STORAGE_CONFIGURATION = Structure(
    {
        "BucketARN": Member(_BUCKET_ARN, required=True),
        "ExpectedBucketOwner": Member(_EXPECTED_BUCKET_OWNER, required=True),
        "OutputKeyTemplate": Member(_S3_OUTPUT_KEY_TEMPLATE),
        "StorageClass": Member(_S3_STORAGE_CLASS),
        "CompressionType": Member(_S3_COMPRESSION_TYPE, required=True),
    }
)
_S3_DESTINATION_CONFIGURATION = Structure(
    {
        "DataFreshnessInSeconds": Member(_DATA_FRESHNESS_IN_SECONDS),
        "DeadLetterQueueS3Configuration": Member(_DEAD_LETTER_QUEUE_S3_CONFIGURATION),
        "StorageConfiguration": Member(_S3_STORAGE_CONFIGURATION, required=True),
    }
)
_TABLE_BUCKET_ARN = Text(
    low=1, high=2048, pattern="arn:aws[-a-z0-9]*:s3tables:[-a-z0-9]+:\\d{12}:bucket/[a-z0-9_-]{3,63}"
)
_S3_TABLES_NAMESPACE = Text(low=1, high=255, pattern="[0-9a-z_]+")
_S3_TABLES_TABLE_NAME = Text(low=1, high=255, pattern="[0-9a-z_]+")
_S3_TABLES_COMPRESSION_TYPE = Text(choices=("NONE", "ZSTD", "SNAPPY"))
_PARTITION_TRANSFORM = Text(choices=("TIME_HOUR",))
_PARTITION_SOURCE_NAME = Text(low=1, high=255, pattern="[a-zA-Z0-9\\.\\_]+")
_PARTITION_FIELD = Structure(
    {
        "Transform": Member(_PARTITION_TRANSFORM, required=True),
        "SourceName": Member(_PARTITION_SOURCE_NAME, required=True),
    }
)
_PARTITION_FIELD_LIST = ListOf(_PARTITION_FIELD, low=1, high=10)
_PARTITION_SPEC = Structure(
    {
        "PartitionFields": Member(_PARTITION_FIELD_LIST, required=True),
    }
)
_S3_TABLES_CONFIGURATION = Structure(
    {
        "TableBucketARN": Member(_TABLE_BUCKET_ARN, required=True),
        "Namespace": Member(_S3_TABLES_NAMESPACE, required=True),
        "TableName": Member(_S3_TABLES_TABLE_NAME, required=True),
        "CompressionType": Member(_S3_TABLES_COMPRESSION_TYPE, required=True),
        "PartitionSpec": Member(_PARTITION_SPEC),
    }
)
_S3_TABLES_CONFIGURATION_LIST = ListOf(_S3_TABLES_CONFIGURATION, low=1, high=10000)
_S3_TABLES_DESTINATION_CONFIGURATION = Structure(
    {
        "DataFreshnessInSeconds": Member(_DATA_FRESHNESS_IN_SECONDS),
        "DeadLetterQueueS3Configuration": Member(_DEAD_LETTER_QUEUE_S3_CONFIGURATION, required=True),
        "S3TablesConfigurationList": Member(_S3_TABLES_CONFIGURATION_LIST, required=True),
    }
)
_CHANNEL_ENCRYPTION_TYPE = Text(choices=("KMS",))
_KEY_ID = Text(low=1, high=2048)
_CHANNEL_ENCRYPTION_CONFIGURATION = Structure(
    {
        "EncryptionType": Member(_CHANNEL_ENCRYPTION_TYPE, required=True),
        "KeyId": Member(_KEY_ID, required=True),
    }
)
_CLOUD_WATCH_LOG_GROUP_NAME = Text(low=1, high=512, pattern="[\\.\\-_/#A-Za-z0-9]+")
_CLOUD_WATCH_LOG_STREAM_NAME = Text(low=1, high=512, pattern="[^:*]*")
_CLOUD_WATCH_LOGS = Structure(
    {
        "Enabled": Member(FLAG, required=True),
        "LogGroupName": Member(_CLOUD_WATCH_LOG_GROUP_NAME),
        "LogStreamName": Member(_CLOUD_WATCH_LOG_STREAM_NAME),
    }
)
_CHANNEL_LOGGING_CONFIGURATION = Structure(
    {
        "CloudWatchLogs": Member(_CLOUD_WATCH_LOGS, required=True),
    }
)
_QUEUE_NAME = Text(low=1, high=128, pattern="[a-zA-Z0-9_.-]+")
_QUEUE_STARTING_POSITION_TYPE = Text(choices=("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"))
_QUEUE_STARTING_POSITION = Structure(
    {
        "Type": Member(_QUEUE_STARTING_POSITION_TYPE, required=True),
        "Timestamp": Member(Time()),
    }
)
_QUEUE_STREAM_CONFIGURATION = Structure(
    {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "StartingPosition": Member(_QUEUE_STARTING_POSITION),
    }
)
_QUEUE_STREAM_CONFIGURATION_LIST = ListOf(_QUEUE_STREAM_CONFIGURATION, low=1, high=10000)
_VISIBILITY_TIMEOUT_SECONDS = Whole(low=0, high=43200)
_TARGET_TYPE = Text(choices=("BUILT_IN", "NONE"))
_MAX_RECEIVE_COUNT = Whole(low=1, high=1000)
_DEAD_LETTER_CONFIGURATION = Structure(
    {
        "TargetType": Member(_TARGET_TYPE, required=True),
        "MaxReceiveCount": Member(_MAX_RECEIVE_COUNT),
    }
)
_QUEUE_ATTRIBUTES = Structure(
    {
        "VisibilityTimeoutSeconds": Member(_VISIBILITY_TIMEOUT_SECONDS),
        "DeadLetterConfiguration": Member(_DEAD_LETTER_CONFIGURATION),
    }
)
_POSITIVE_INTEGER_OBJECT = Whole(low=1)
_STREAM_MODE = Text(choices=("PROVISIONED", "ON_DEMAND"))
_STREAM_MODE_DETAILS = Structure(
    {
        "StreamMode": Member(_STREAM_MODE, required=True),
    }
)
_NATURAL_INTEGER_OBJECT = Whole(low=0)
_MAX_RECORD_SIZE_IN_KI_B = Whole(low=1024, high=10240)
_RECORD_DISTRIBUTION_STRATEGY = Text(choices=("AUTO", "USER_PARTITION_KEY"))
_RETENTION_PERIOD_HOURS = Whole(low=-2147483648)
_CHANNEL_ARN = Text(low=1, high=2048, pattern="arn:aws.*:kinesis:.*:\\d{12}:channel/\\S+")
_RESOURCE_ARN = Text(low=1, high=2048, pattern="arn:aws.*:kinesis:.*:\\d{12}:.*(stream|channel|queue)/\\S+")
_CONSUMER_NAME = Text(low=1, high=128, pattern="[a-zA-Z0-9_.-]+")
_CONSUMER_ARN = Text(
    low=1,
    high=2048,
    pattern="^(arn):aws.*:kinesis:.*:\\d{12}:.*stream\\/[a-zA-Z0-9_.-]+\\/consumer\\/[a-zA-Z0-9_.-]+:[0-9]+",
)
_DESCRIBE_STREAM_INPUT_LIMIT = Whole(low=1, high=10000)
_SHARD_ID = Text(low=1, high=128, pattern="[a-zA-Z0-9_.-]+")
_METRICS_NAME = Text(
    choices=(
        "IncomingBytes",
        "IncomingRecords",
        "OutgoingBytes",
        "OutgoingRecords",
        "WriteProvisionedThroughputExceeded",
        "ReadProvisionedThroughputExceeded",
        "IteratorAgeMilliseconds",
        "ALL",
    )
)
_METRICS_NAME_LIST = ListOf(_METRICS_NAME, low=1, high=7)
_SHARD_ITERATOR = Text(low=1, high=512)
_GET_RECORDS_INPUT_LIMIT = Whole(low=1, high=10000)
_SHARD_ITERATOR_TYPE = Text(
    choices=("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")
)
_SEQUENCE_NUMBER = Text(pattern="^(0|([1-9]\\d{0,128}))$")
_STREAM_FILTER = Structure(
    {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "StreamCreationTimestamp": Member(Time()),
    }
)
_STREAM_FILTER_LIST = ListOf(_STREAM_FILTER, low=1, high=10000)
_LIST_CHANNELS_INPUT_LIMIT = Whole(low=1, high=10000)
_NEXT_TOKEN = Text(low=1, high=1048576)
_LIST_QUEUES_INPUT_LIMIT = Whole(low=1, high=10000)
_QUEUE_STREAM_FILTER = Structure(
    {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "StreamCreationTimestamp": Member(Time()),
    }
)
_QUEUE_STREAM_FILTER_LIST = ListOf(_QUEUE_STREAM_FILTER, low=1, high=10000)
_LIST_SHARDS_INPUT_LIMIT = Whole(low=1, high=10000)
_SHARD_FILTER_TYPE = Text(
    choices=("AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP")
)
_SHARD_FILTER = Structure(
    {
        "Type": Member(_SHARD_FILTER_TYPE, required=True),
        "ShardId": Member(_SHARD_ID),
        "Timestamp": Member(Time()),
    }
)
_LIST_STREAM_CONSUMERS_INPUT_LIMIT = Whole(low=1, high=10000)
_LIST_STREAMS_INPUT_LIMIT = Whole(low=1, high=10000)
_LIST_TAGS_FOR_STREAM_INPUT_LIMIT = Whole(low=1, high=50)
_PARTITION_KEY = Text(low=1, high=256)
_HASH_KEY = Text(pattern="^(0|([1-9]\\d{0,38}))$")
_PUT_RECORDS_REQUEST_ENTRY = Structure(
    {
        "Data": Member(BLOB, required=True),
        "ExplicitHashKey": Member(_HASH_KEY),
        "PartitionKey": Member(_PARTITION_KEY),
    }
)
_PUT_RECORDS_REQUEST_ENTRY_LIST = ListOf(_PUT_RECORDS_REQUEST_ENTRY, low=1, high=500)
_POLICY = Text()
_RECEIVE_QUEUE_RECORDS_INPUT_LIMIT = Whole(low=1, high=10)
_RECEIVE_QUEUE_RECORDS_WAIT_TIME_SECONDS = Whole(low=1, high=20)
_TAG_KEY_LIST = ListOf(_TAG_KEY, low=1, high=50)
_RESTORE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY = Structure(
    {
        "ReceiptHandle": Member(_RECEIPT_HANDLE, required=True),
    }
)
_RESTORE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY_LIST = ListOf(
    _RESTORE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY, low=1, high=10
)
_ENCRYPTION_TYPE = Text(choices=("NONE", "KMS"))
_STARTING_POSITION = Structure(
    {
        "Type": Member(_SHARD_ITERATOR_TYPE, required=True),
        "SequenceNumber": Member(_SEQUENCE_NUMBER),
        "Timestamp": Member(Time()),
    }
)
_MINIMUM_THROUGHPUT_BILLING_COMMITMENT_INPUT_STATUS = Text(choices=("ENABLED", "DISABLED"))
_MINIMUM_THROUGHPUT_BILLING_COMMITMENT_INPUT = Structure(
    {
        "Status": Member(_MINIMUM_THROUGHPUT_BILLING_COMMITMENT_INPUT_STATUS, required=True),
    }
)
_S3_DESTINATION_UPDATE_INPUT = Structure(
    {
        "DataFreshnessInSeconds": Member(_DATA_FRESHNESS_IN_SECONDS, required=True),
    }
)
_S3_TABLES_DESTINATION_UPDATE_INPUT = Structure(
    {
        "DataFreshnessInSeconds": Member(_DATA_FRESHNESS_IN_SECONDS, required=True),
    }
)
_CLOUD_WATCH_LOGS_UPDATE_INPUT = Structure(
    {
        "Enabled": Member(FLAG, required=True),
        "LogGroupName": Member(_CLOUD_WATCH_LOG_GROUP_NAME),
        "LogStreamName": Member(_CLOUD_WATCH_LOG_STREAM_NAME),
    }
)
_CHANNEL_LOGGING_UPDATE_INPUT = Structure(
    {
        "CloudWatchLogs": Member(_CLOUD_WATCH_LOGS_UPDATE_INPUT, required=True),
    }
)
_UPDATE_DEAD_LETTER_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY = Structure(
    {
        "ReceiptHandle": Member(_RECEIPT_HANDLE, required=True),
        "VisibilityTimeoutSeconds": Member(_VISIBILITY_TIMEOUT_SECONDS, required=True),
    }
)
_UPDATE_DEAD_LETTER_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY_LIST = ListOf(
    _UPDATE_DEAD_LETTER_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY, low=1, high=10
)
_UPDATE_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY = Structure(
    {
        "ReceiptHandle": Member(_RECEIPT_HANDLE, required=True),
        "VisibilityTimeoutSeconds": Member(_VISIBILITY_TIMEOUT_SECONDS, required=True),
    }
)
_UPDATE_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY_LIST = ListOf(
    _UPDATE_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY, low=1, high=10
)
_SCALING_TYPE = Text(choices=("UNIFORM_SCALING",))

OPERATIONS: Mapping[str, Mapping[str, Member]] = {
    "AcknowledgeDeadLetterQueueRecords": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Entries": Member(_ACKNOWLEDGE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY_LIST, required=True),
    },
    "AcknowledgeQueueRecords": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Entries": Member(_ACKNOWLEDGE_QUEUE_RECORDS_REQUEST_ENTRY_LIST, required=True),
    },
    "AddTagsToStream": {
        "StreamName": Member(_STREAM_NAME),
        "Tags": Member(_TAG_MAP, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "CreateChannel": {
        "ChannelName": Member(_CHANNEL_NAME, required=True),
        "ServiceExecutionRoleARN": Member(_ROLE_ARN, required=True),
        "StreamConfigurationList": Member(_CHANNEL_STREAM_CONFIGURATION_LIST, required=True),
        "S3DestinationConfiguration": Member(_S3_DESTINATION_CONFIGURATION),
        "S3TablesDestinationConfiguration": Member(_S3_TABLES_DESTINATION_CONFIGURATION),
        "EncryptionConfiguration": Member(_CHANNEL_ENCRYPTION_CONFIGURATION),
        "Tags": Member(_TAG_MAP),
        "LoggingConfiguration": Member(_CHANNEL_LOGGING_CONFIGURATION),
    },
    "CreateQueue": {
        "QueueName": Member(_QUEUE_NAME, required=True),
        "StreamConfigurationList": Member(_QUEUE_STREAM_CONFIGURATION_LIST, required=True),
        "QueueAttributes": Member(_QUEUE_ATTRIBUTES),
        "Tags": Member(_TAG_MAP),
    },
    "CreateStream": {
        "StreamName": Member(_STREAM_NAME, required=True),
        "ShardCount": Member(_POSITIVE_INTEGER_OBJECT),
        "StreamModeDetails": Member(_STREAM_MODE_DETAILS),
        "Tags": Member(_TAG_MAP),
        "WarmThroughputMiBps": Member(_NATURAL_INTEGER_OBJECT),
        "MaxRecordSizeInKiB": Member(_MAX_RECORD_SIZE_IN_KI_B),
        "RecordDistributionStrategy": Member(_RECORD_DISTRIBUTION_STRATEGY),
    },
    "DecreaseStreamRetentionPeriod": {
        "StreamName": Member(_STREAM_NAME),
        "RetentionPeriodHours": Member(_RETENTION_PERIOD_HOURS, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "DeleteChannel": {
        "ChannelARN": Member(_CHANNEL_ARN, required=True),
    },
    "DeleteQueue": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
    },
    "DeleteResourcePolicy": {
        "ResourceARN": Member(_RESOURCE_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
    },
    "DeleteStream": {
        "StreamName": Member(_STREAM_NAME),
        "EnforceConsumerDeletion": Member(FLAG),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "DeregisterStreamConsumer": {
        "StreamARN": Member(_STREAM_ARN),
        "ConsumerName": Member(_CONSUMER_NAME),
        "ConsumerARN": Member(_CONSUMER_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "DescribeAccountSettings": {},
    "DescribeChannel": {
        "ChannelARN": Member(_CHANNEL_ARN, required=True),
    },
    "DescribeLimits": {},
    "DescribeQueue": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
    },
    "DescribeStream": {
        "StreamName": Member(_STREAM_NAME),
        "Limit": Member(_DESCRIBE_STREAM_INPUT_LIMIT),
        "ExclusiveStartShardId": Member(_SHARD_ID),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "DescribeStreamConsumer": {
        "StreamARN": Member(_STREAM_ARN),
        "ConsumerName": Member(_CONSUMER_NAME),
        "ConsumerARN": Member(_CONSUMER_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "DescribeStreamSummary": {
        "StreamName": Member(_STREAM_NAME),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "DisableEnhancedMonitoring": {
        "StreamName": Member(_STREAM_NAME),
        "ShardLevelMetrics": Member(_METRICS_NAME_LIST, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "EnableEnhancedMonitoring": {
        "StreamName": Member(_STREAM_NAME),
        "ShardLevelMetrics": Member(_METRICS_NAME_LIST, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "GetRecords": {
        "ShardIterator": Member(_SHARD_ITERATOR, required=True),
        "Limit": Member(_GET_RECORDS_INPUT_LIMIT),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
        "DryRun": Member(FLAG),
    },
    "GetResourcePolicy": {
        "ResourceARN": Member(_RESOURCE_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
    },
    "GetShardIterator": {
        "StreamName": Member(_STREAM_NAME),
        "ShardId": Member(_SHARD_ID, required=True),
        "ShardIteratorType": Member(_SHARD_ITERATOR_TYPE, required=True),
        "StartingSequenceNumber": Member(_SEQUENCE_NUMBER),
        "Timestamp": Member(Time()),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
        "DryRun": Member(FLAG),
    },
    "IncreaseStreamRetentionPeriod": {
        "StreamName": Member(_STREAM_NAME),
        "RetentionPeriodHours": Member(_RETENTION_PERIOD_HOURS, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "ListChannels": {
        "StreamFilter": Member(_STREAM_FILTER_LIST),
        "MaxResults": Member(_LIST_CHANNELS_INPUT_LIMIT),
        "NextToken": Member(_NEXT_TOKEN),
    },
    "ListQueues": {
        "MaxResults": Member(_LIST_QUEUES_INPUT_LIMIT),
        "NextToken": Member(_NEXT_TOKEN),
        "StreamFilter": Member(_QUEUE_STREAM_FILTER_LIST),
    },
    "ListShards": {
        "StreamName": Member(_STREAM_NAME),
        "NextToken": Member(_NEXT_TOKEN),
        "ExclusiveStartShardId": Member(_SHARD_ID),
        "MaxResults": Member(_LIST_SHARDS_INPUT_LIMIT),
        "StreamCreationTimestamp": Member(Time()),
        "ShardFilter": Member(_SHARD_FILTER),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "ListStreamConsumers": {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "NextToken": Member(_NEXT_TOKEN),
        "MaxResults": Member(_LIST_STREAM_CONSUMERS_INPUT_LIMIT),
        "StreamCreationTimestamp": Member(Time()),
        "StreamId": Member(_STREAM_ID),
    },
    "ListStreams": {
        "Limit": Member(_LIST_STREAMS_INPUT_LIMIT),
        "ExclusiveStartStreamName": Member(_STREAM_NAME),
        "NextToken": Member(_NEXT_TOKEN),
    },
    "ListTagsForResource": {
        "ResourceARN": Member(_RESOURCE_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
    },
    "ListTagsForStream": {
        "StreamName": Member(_STREAM_NAME),
        "ExclusiveStartTagKey": Member(_TAG_KEY),
        "Limit": Member(_LIST_TAGS_FOR_STREAM_INPUT_LIMIT),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "MergeShards": {
        "StreamName": Member(_STREAM_NAME),
        "ShardToMerge": Member(_SHARD_ID, required=True),
        "AdjacentShardToMerge": Member(_SHARD_ID, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "PutRecord": {
        "StreamName": Member(_STREAM_NAME),
        "Data": Member(BLOB, required=True),
        "PartitionKey": Member(_PARTITION_KEY),
        "ExplicitHashKey": Member(_HASH_KEY),
        "SequenceNumberForOrdering": Member(_SEQUENCE_NUMBER),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
        "DryRun": Member(FLAG),
    },
    "PutRecords": {
        "Records": Member(_PUT_RECORDS_REQUEST_ENTRY_LIST, required=True),
        "StreamName": Member(_STREAM_NAME),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
        "DryRun": Member(FLAG),
    },
    "PutResourcePolicy": {
        "ResourceARN": Member(_RESOURCE_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
        "Policy": Member(_POLICY, required=True),
    },
    "ReceiveDeadLetterQueueRecords": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Limit": Member(_RECEIVE_QUEUE_RECORDS_INPUT_LIMIT),
        "WaitTimeSeconds": Member(_RECEIVE_QUEUE_RECORDS_WAIT_TIME_SECONDS),
        "VisibilityTimeoutSeconds": Member(_VISIBILITY_TIMEOUT_SECONDS),
    },
    "ReceiveQueueRecords": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Limit": Member(_RECEIVE_QUEUE_RECORDS_INPUT_LIMIT),
        "WaitTimeSeconds": Member(_RECEIVE_QUEUE_RECORDS_WAIT_TIME_SECONDS),
        "VisibilityTimeoutSeconds": Member(_VISIBILITY_TIMEOUT_SECONDS),
    },
    "RegisterStreamConsumer": {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "ConsumerName": Member(_CONSUMER_NAME, required=True),
        "StreamId": Member(_STREAM_ID),
        "Tags": Member(_TAG_MAP),
    },
    "RemoveTagsFromStream": {
        "StreamName": Member(_STREAM_NAME),
        "TagKeys": Member(_TAG_KEY_LIST, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "RestoreDeadLetterQueueRecords": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Entries": Member(_RESTORE_DEAD_LETTER_QUEUE_RECORDS_REQUEST_ENTRY_LIST, required=True),
    },
    "SplitShard": {
        "StreamName": Member(_STREAM_NAME),
        "ShardToSplit": Member(_SHARD_ID, required=True),
        "NewStartingHashKey": Member(_HASH_KEY, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "StartStreamEncryption": {
        "StreamName": Member(_STREAM_NAME),
        "EncryptionType": Member(_ENCRYPTION_TYPE, required=True),
        "KeyId": Member(_KEY_ID, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "StopStreamEncryption": {
        "StreamName": Member(_STREAM_NAME),
        "EncryptionType": Member(_ENCRYPTION_TYPE, required=True),
        "KeyId": Member(_KEY_ID, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "SubscribeToShard": {
        "ConsumerARN": Member(_CONSUMER_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
        "ShardId": Member(_SHARD_ID, required=True),
        "StartingPosition": Member(_STARTING_POSITION, required=True),
        "DryRun": Member(FLAG),
    },
    "TagResource": {
        "Tags": Member(_TAG_MAP, required=True),
        "ResourceARN": Member(_RESOURCE_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
    },
    "UntagResource": {
        "TagKeys": Member(_TAG_KEY_LIST, required=True),
        "ResourceARN": Member(_RESOURCE_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
    },
    "UpdateAccountSettings": {
        "MinimumThroughputBillingCommitment": Member(_MINIMUM_THROUGHPUT_BILLING_COMMITMENT_INPUT, required=True),
    },
    "UpdateChannel": {
        "ChannelARN": Member(_CHANNEL_ARN, required=True),
        "S3DestinationConfiguration": Member(_S3_DESTINATION_UPDATE_INPUT),
        "S3TablesDestinationConfiguration": Member(_S3_TABLES_DESTINATION_UPDATE_INPUT),
        "LoggingConfiguration": Member(_CHANNEL_LOGGING_UPDATE_INPUT),
    },
    "UpdateDeadLetterQueueRecordsVisibility": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Entries": Member(_UPDATE_DEAD_LETTER_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY_LIST, required=True),
    },
    "UpdateMaxRecordSize": {
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
        "MaxRecordSizeInKiB": Member(_MAX_RECORD_SIZE_IN_KI_B, required=True),
    },
    "UpdateQueue": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "QueueAttributes": Member(_QUEUE_ATTRIBUTES, required=True),
    },
    "UpdateQueueRecordsVisibility": {
        "QueueARN": Member(_QUEUE_ARN, required=True),
        "Entries": Member(_UPDATE_QUEUE_RECORDS_VISIBILITY_REQUEST_ENTRY_LIST, required=True),
    },
    "UpdateShardCount": {
        "StreamName": Member(_STREAM_NAME),
        "TargetShardCount": Member(_POSITIVE_INTEGER_OBJECT, required=True),
        "ScalingType": Member(_SCALING_TYPE, required=True),
        "StreamARN": Member(_STREAM_ARN),
        "StreamId": Member(_STREAM_ID),
    },
    "UpdateStreamMode": {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
        "StreamModeDetails": Member(_STREAM_MODE_DETAILS, required=True),
        "WarmThroughputMiBps": Member(_NATURAL_INTEGER_OBJECT),
    },
    "UpdateStreamRecordDistributionStrategy": {
        "StreamARN": Member(_STREAM_ARN, required=True),
        "StreamId": Member(_STREAM_ID),
        "RecordDistributionStrategy": Member(_RECORD_DISTRIBUTION_STRATEGY, required=True),
    },
    "UpdateStreamWarmThroughput": {
        "StreamARN": Member(_STREAM_ARN),
        "StreamName": Member(_STREAM_NAME),
        "StreamId": Member(_STREAM_ID),
        "WarmThroughputMiBps": Member(_NATURAL_INTEGER_OBJECT, required=True),
    },
}
"""By operation: the members of its request."""

TIMES = frozenset(
    [
        "ApproximateArrivalTimestamp",
        "ChannelCreationTimestamp",
        "ConsumerCreationTimestamp",
        "EarliestAllowedEndAt",
        "EndedAt",
        "FirstReceiveTimestamp",
        "QueueCreationTimestamp",
        "StartedAt",
        "StreamCreationTimestamp",
        "Timestamp",
    ]
)
"""The members of responses that are times."""
