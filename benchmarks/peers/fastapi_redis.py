"""A FastAPI route and one XADD per request: python fastapi_redis.py PORT REDIS_PORT."""

import json
import random
import sys
import time
from datetime import UTC, datetime

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from redis.asyncio import Redis

app = FastAPI()
redis = Redis(port=int(sys.argv[2]))


class Event(BaseModel):
    description: str


@app.post("/event")
async def post_event(event: Event) -> Response:
    now = time.time_ns()
    timestamp = f"{datetime.fromtimestamp(now // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{now % 10**9:09}Z"
    message = {"id": random.getrandbits(63), "description": event.description, "timestamp": timestamp}
    await redis.xadd("NotificationStream", {"EventStream": json.dumps(message)})
    return Response(headers={"Event-Id": str(message["id"])})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
