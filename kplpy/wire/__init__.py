"""The KPL's aggregated record: many user records in one Kinesis record.

On the wire: MAGIC, a protobuf message (see schema.py), and the MD5 of the message's bytes.
encode.py packs and counts it record by record, decode.py and deaggregate.py read it as the KCL does.
"""
