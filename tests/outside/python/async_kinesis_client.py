"""async-kinesis against the local Kinesis: `python async_kinesis_client.py STREAM RECORDS`. See ../README.md."""

from __future__ import annotations

import asyncio
import os
import sys

from kinesis import Consumer, Producer
from kinesis.processors import StringProcessor

SETTINGS = {"endpoint_url": os.environ["AWS_ENDPOINT_URL_KINESIS"], "region_name": os.environ["AWS_REGION"]}


async def main() -> None:
    stream, count = sys.argv[1], int(sys.argv[2])
    wanted = sorted(f"record {each}" for each in range(count))
    async with Producer(stream, processor=StringProcessor(), **SETTINGS) as producer:
        for each in wanted:
            await producer.put(each)
        await producer.flush()
    print("ok keyed", flush=True)
    found: list[str] = []
    async with Consumer(stream, processor=StringProcessor(), sleep_time_no_records=0.3, **SETTINGS) as consumer:
        while len(found) < count:
            async for each in consumer:
                found.append(each)
    assert sorted(found) == wanted, found
    print("ok read", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
