"""A small real server for tests of environments: speaks frames to its peers, HTTP to us.

    python echo_store.py NAME HOST PEER=HOST:PORT ...

Port 7001 takes length-prefixed frames from peers and counts them by sender and order; port 8001
answers HTTP: ``GET /health``, ``GET /seen``, ``POST /send {"to": .., "count": ..}``, ``GET /time``,
``POST /chaos/clock``. A peer is dialled until it listens, and dialled again after an error.
"""

import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, HOST, PEERS = sys.argv[1], sys.argv[2], dict(a.split("=") for a in sys.argv[3:])
SEEN: dict[str, list[list[float]]] = {}
CONNECTIONS: dict[str, socket.socket] = {}
DIALS_FOR_S = 30.0
CLOCK = {"offset_ns": 0, "rate": 1.0}


def exactly(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def take(sock):
    try:
        while True:
            (size,) = struct.unpack(">I", exactly(sock, 4))
            message = json.loads(exactly(sock, size))
            late = time.monotonic() - message["at"]
            SEEN.setdefault(message["from"], []).append([message["number"], late])
    except (ConnectionError, OSError):
        sock.close()


def accept(listener):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=take, args=(sock,), daemon=True).start()


def dial(to):
    """A connection to a peer; one that does not listen yet is asked again for a while."""
    host, port = PEERS[to].split(":")
    end_s = time.monotonic() + DIALS_FOR_S
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=DIALS_FOR_S)
        except ConnectionRefusedError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.02)


def send(to, count):
    sent = 0
    for number in range(count):
        body = json.dumps({"from": NAME, "number": number, "at": time.monotonic()}).encode()
        try:
            if to not in CONNECTIONS:
                CONNECTIONS[to] = dial(to)
            CONNECTIONS[to].sendall(struct.pack(">I", len(body)) + body)
            sent += 1
        except OSError:
            CONNECTIONS.pop(to, None)
    return sent


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/seen":
            self.answer(SEEN)
        elif self.path == "/time":
            self.answer({"wall_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()})
        else:
            self.answer({"ok": NAME})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/send":
            self.answer({"sent": send(body["to"], body["count"])})
        elif self.path == "/clear":
            SEEN.clear()
            self.answer({})
        else:
            CLOCK.update(body)
            self.answer(CLOCK)

    def log_message(self, *args):
        pass


threading.Thread(target=accept, args=(socket.create_server((HOST, 7001)),), daemon=True).start()
print("listening", flush=True)
ThreadingHTTPServer((HOST, 8001), Handler).serve_forever()
