"""The KPL's aggregated record: many user records in one Kinesis record.

On the wire it is MAGIC, a protobuf message (schema.py), and the MD5 of the message's bytes.
encode.py packs an aggregate record by record and knows its exact size. decode.py and deaggregate.py read it as the
KCL does.
"""
