"""
A FastStream consumer of the group that logs each event as a line:
python faststream_reader.py REDIS_PORT COUNT
"""

import asyncio
import json
import sys

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

broker = RedisBroker(f"redis://127.0.0.1:{sys.argv[1]}", logger=None)
app = FastStream(broker, logger=None)


@broker.subscriber(
    stream=StreamSub(
        "NotificationStream",
        group="demo_consumer_group",
        consumer="faststream",
        batch=True,
        max_records=int(sys.argv[2]),
        last_id=">",
    )
)
async def handle(messages: list) -> None:
    for message in messages:
        event = json.loads(message["EventStream"]) if isinstance(message, dict) else message
        sys.stdout.write(json.dumps({"level": "info", "event": event}) + "\n")


asyncio.run(app.run())
