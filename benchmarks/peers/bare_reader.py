"""
Only XREADGROUP and XACK over a socket with hiredis: the limit for a consumer in
Python.  python bare_reader.py REDIS_PORT COUNT
"""

import socket
import sys

import hiredis

port, count = int(sys.argv[1]), int(sys.argv[2])
connection = socket.create_connection(("127.0.0.1", port))
reader = hiredis.Reader()


def call(*command):
    connection.sendall(hiredis.pack_command(command))
    while (reply := reader.gets()) is False:
        reader.feed(connection.recv(1 << 20))
    return reply


while True:
    streams = call(
        *("XREADGROUP", "GROUP", "demo_consumer_group", "bare", "COUNT", count, "BLOCK", 1000),
        *("STREAMS", "NotificationStream", ">"),
    )
    if streams:
        call("XACK", "NotificationStream", "demo_consumer_group", *[id for id, _ in streams[0][1]])
