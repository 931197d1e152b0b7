"""aiokpl against the local Kinesis: `python aiokpl_client.py STREAM RECORDS`. See tests/outside/README.md."""

from __future__ import annotations

import asyncio
import os
import sys

from aiokpl.config import Config
from aiokpl.producer import Producer


async def main() -> None:
    stream, count = sys.argv[1], int(sys.argv[2])
    config = Config(region=os.environ["AWS_REGION"], endpoint_url=os.environ["AWS_ENDPOINT_URL_KINESIS"])
    async with Producer(config) as producer:
        outcomes = [
            await producer.put_record(stream=stream, partition_key=f"key-{each}", data=b"record %d" % each)
            for each in range(count)
        ]
        await producer.flush()
        for outcome in outcomes:
            result = await outcome.wait()
            assert result.success, result
    print("ok keyed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
