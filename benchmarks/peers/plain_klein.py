"""A Klein route and one XADD per request: python plain_klein.py PORT REDIS_PORT."""

import json
import random
import sys
import time
from datetime import UTC, datetime

import txredisapi
from klein import Klein
from twisted.internet import endpoints, reactor
from twisted.web.server import Site

app = Klein()
redis = None


@app.route("/event", methods=["POST"])
async def post_event(request):
    description = json.loads(request.content.read())["description"]
    assert isinstance(description, str)
    now = time.time_ns()
    timestamp = f"{datetime.fromtimestamp(now // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{now % 10**9:09}Z"
    message = {"id": random.getrandbits(63), "description": description, "timestamp": timestamp}
    await redis.execute_command("XADD", "NotificationStream", "*", "EventStream", json.dumps(message))
    request.setHeader("Event-Id", str(message["id"]))
    return b""


async def main(port, redis_port):
    global redis
    redis = await txredisapi.Connection("127.0.0.1", redis_port, charset=None)
    site = Site(app.resource())
    site.log = lambda request: None
    await endpoints.serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(site)


from twisted.internet.defer import ensureDeferred  # noqa: E402

ensureDeferred(main(int(sys.argv[1]), int(sys.argv[2]))).addErrback(lambda failure: failure.printTraceback())
reactor.run()
