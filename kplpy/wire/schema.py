"""The protobuf schema of aggregated records, in a descriptor pool of its own.

aws-kinesis-agg registers the same full names in protobuf's default pool; two registrations there would clash.
The schema is built in code at its first use. So `import kplpy` does not import protobuf, and no generated file ties
kplpy to one version of protobuf.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PACKAGE = "aws.kinesis.protobuf"


@functools.cache
def aggregated_record_class() -> type[Message]:
    """Return the protobuf message class AggregatedRecord.

    message AggregatedRecord {
      repeated string partition_key_table = 1;
      repeated string explicit_hash_key_table = 2;
      repeated Record records = 3;
    }
    message Record {
      required uint64 partition_key_index = 1;
      optional uint64 explicit_hash_key_index = 2;
      required bytes data = 3;
      repeated Tag tags = 4;     // unused, but a malformed one makes the message invalid
    }
    message Tag {
      required string key = 1;
      optional string value = 2;
    }

    The strings are declared as bytes here, which is the same on the wire. proto2 does not check their UTF-8, and
    protobuf's implementations for Python treat invalid UTF-8 differently.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_proto = descriptor_pb2.FieldDescriptorProto
    optional, required, repeated = (
        field_proto.LABEL_OPTIONAL,
        field_proto.LABEL_REQUIRED,
        field_proto.LABEL_REPEATED,
    )
    uint64, blob = field_proto.TYPE_UINT64, field_proto.TYPE_BYTES

    file = descriptor_pb2.FileDescriptorProto(name="kplpy/aggregated_record.proto", package=_PACKAGE, syntax="proto2")
    aggregate = file.message_type.add(name="AggregatedRecord")
    record = file.message_type.add(name="Record")
    tag = file.message_type.add(name="Tag")

    aggregate.field.add(name="partition_key_table", number=1, label=repeated, type=blob)
    aggregate.field.add(name="explicit_hash_key_table", number=2, label=repeated, type=blob)
    aggregate.field.add(
        name="records",
        number=3,
        label=repeated,
        type=field_proto.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.Record",
    )
    record.field.add(name="partition_key_index", number=1, label=required, type=uint64)
    record.field.add(name="explicit_hash_key_index", number=2, label=optional, type=uint64)
    record.field.add(name="data", number=3, label=required, type=blob)
    record.field.add(name="tags", number=4, label=repeated, type=field_proto.TYPE_MESSAGE, type_name=f".{_PACKAGE}.Tag")
    tag.field.add(name="key", number=1, label=required, type=blob)
    tag.field.add(name="value", number=2, label=optional, type=blob)

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.AggregatedRecord"))
