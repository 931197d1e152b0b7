"""A small application that takes orders. test_orders.py shows how to test it without AWS."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from kplpy import BufferFullError, Producer


@dataclass(frozen=True)
class Order:
    """An order of one item.

    customer: the partition key, so that orders of one customer go to one shard.
    item: what the customer orders.
    """

    customer: str
    item: str


class OrderNotTakenError(Exception):
    """The order may not be in the stream. The application must report this to the customer."""


class Orders:
    """Takes orders. The caller passes the producer, so tests can pass one for the local Kinesis."""

    def __init__(self, producer: Producer, stream: str = "orders") -> None:
        self._producer = producer
        self._stream = stream

    def take(self, orders: list[Order]) -> list[str]:
        """Put the orders, wait for all of them, and return their shards.

        Raises OrderNotTakenError if the buffer is full, or if an order failed.
        """
        try:
            futures = [self._producer.put_record(self._stream, encode(each), each.customer) for each in orders]
        except BufferFullError as error:
            raise OrderNotTakenError(f"try again later: {error}") from error
        failed = [future for future in futures if future.exception() is not None]  # waits for the outcome
        if failed:
            raise OrderNotTakenError(f"{len(failed)} of {len(futures)} orders failed") from failed[0].exception()
        return [future.result().shard_id for future in futures]


def encode(order: Order) -> bytes:
    """Return the order as JSON."""
    return json.dumps(asdict(order)).encode()
