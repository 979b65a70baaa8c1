"""A small replicated key-value store: one file, nothing but Python's standard library.

    python3 kvstore.py --listen ADDRESS --data FILE PEER PEER ...

Every node speaks HTTP on port 8080: `GET /kv/KEY` answers the JSON value, `PUT /kv/KEY` sets it.
Whoever is asked coordinates: it asks a majority of replicas for their newest version, then has a
majority store the version it goes for: a newer one for a write, the newest it saw for a read. Two
majorities share a replica, so a read sees every write that was answered. There is no leader.
(Attiya, Bar-Noy and Dolev, "Sharing memory robustly in message-passing systems", 1995.)

`--reads local` is the broken variant: reads are quick, and come from the node's own copy.
"""

import argparse
import http.client
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
PEER_TIMEOUT_S = 0.5
NEVER_WRITTEN = [[0, ""], None]


class Replica:
    """This node's copy, key -> [stamp, value], on disk before it is acknowledged."""

    def __init__(self, path):
        self.lock, self.copy = threading.Lock(), {}
        self.log = open(path, "a+b")  # noqa: SIM115
        self.log.seek(0)
        for line in self.log.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                key, version = json.loads(line)
                self.copy[key] = version
            else:  # a torn tail was never acknowledged
                self.log.truncate(self.log.tell() - len(line))

    def load(self, key):
        with self.lock:
            return self.copy.get(key, NEVER_WRITTEN)

    def store(self, key, version):
        with self.lock:
            if version[0] > self.copy.get(key, NEVER_WRITTEN)[0]:
                self.log.write(json.dumps([key, version]).encode() + b"\n")
                self.log.flush()
                os.fsync(self.log.fileno())
                self.copy[key] = version
        return True


class Store:
    """The coordinator's side: reads and writes by majorities."""

    def __init__(self, name, replica, peers, local_reads):
        self.replica, self.peers, self.local_reads = replica, peers, local_reads
        self.quorum = (len(peers) + 1) // 2 + 1
        self.pool = ThreadPoolExecutor(64)
        self.unique = (f"{name}-{os.urandom(4).hex()}-{n}" for n in itertools.count())

    def read(self, key):
        if self.local_reads:
            return self.replica.load(key)[1]
        newest = max(self.majority("load", key), key=lambda version: version[0])
        self.majority("store", key, newest)  # or a later read might miss what this one saw
        return newest[1]

    def write(self, key, value):
        newest = max(stamp for stamp, _ in self.majority("load", key))
        self.majority("store", key, [[newest[0] + 1, next(self.unique)], value])

    def majority(self, what, *args):
        """Answers of a majority of replicas, this one among them; raises if there is none."""
        calls = [self.pool.submit(self.ask, peer, what, args) for peer in self.peers]
        answers, ended = [getattr(self.replica, what)(*args)], as_completed(calls)
        while len(answers) < self.quorum:
            call = next(ended, None)
            if call is None:
                raise ConnectionError(f"only {len(answers)} of {len(calls) + 1} replicas answer")
            if call.exception() is None:
                answers.append(call.result())
        return answers

    def ask(self, peer, what, args):
        connection = http.client.HTTPConnection(peer, PORT, timeout=PEER_TIMEOUT_S)
        try:
            connection.request("POST", f"/replica/{what}", json.dumps(args))
            answer = connection.getresponse()
            if answer.status != 200:
                raise ConnectionError(f"{peer} answers {answer.status}")
            return json.loads(answer.read())
        finally:
            connection.close()


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of both."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        value = json.loads(body) if body else None
        _, kind, *rest = self.path.split("/")
        try:
            if kind == "replica" and rest[0] in ("load", "store"):
                return self.answer(200, getattr(self.store.replica, rest[0])(*value))
            if kind == "kv" and self.command == "GET":
                return self.answer(200, self.store.read(rest[0]))
            if kind == "kv" and self.command == "PUT":
                return self.answer(200, self.store.write(rest[0], value))
            return self.answer(200 if kind == "health" else 404, None)
        except ConnectionError as error:
            return self.answer(503, str(error))

    do_GET = do_PUT = do_POST = handle_request

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--reads", choices=["majority", "local"], default="majority")
    parser.add_argument("peers", nargs="*")
    given = parser.parse_args()
    replica = Replica(given.data)
    Handler.store = Store(given.listen, replica, given.peers, given.reads == "local")
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((given.listen, PORT), Handler).serve_forever()
