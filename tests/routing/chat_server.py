"""A chat server on this machine that gives prepared answers and remembers what it was sent."""

from __future__ import annotations

import http.server
import json
import threading
import time
from dataclasses import dataclass, field


def completion(content, finish_reason="stop", **message):
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, **message},
    }
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "served-model"}
    return head | {"choices": [choice], "usage": usage}


def decided(agent, reasoning="It fits.", confidence=0.8, risks=("none known",)):
    """The reply of a model that keeps the contract."""
    reply = {"reasoning": reasoning, "risks": list(risks), "agent": agent, "confidence": confidence}
    return completion(json.dumps(reply))


@dataclass
class Prepared:
    body: object
    status: int = 200
    kind: str = "application/json"
    headers: dict = field(default_factory=dict)
    wait: bool = False  # until the test is over
    delay: float = 0.0  # seconds
    trickle: bool = False  # a blank now and then until the test is over
    drip: bool = False  # header after header until the test is over, or for ten seconds
    drop: str = ""  # "at once": no answer; "midway": half of it

    @property
    def raw(self):
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = []
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.answer(completion("ASSIGNED: gpt-4o"))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def bodies(self):
        """The JSON of the requests."""
        return [body for _, _, body in self.received]

    def answer(self, body, **how):
        """Give this answer from now on."""
        self.prepared = [Prepared(body, **how)]

    def script(self, *answers):
        """Give these answers one after the other, the last one again and again."""
        self.prepared = [one if isinstance(one, Prepared) else Prepared(one) for one in answers]

    def next(self):
        with self.lock:
            return self.prepared.pop(0) if len(self.prepared) > 1 else self.prepared[0]

    def handle_error(self, request, client_address):
        """Stay silent when a client has hung up: the time-out test does."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        """Stay silent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.received.append((self.path, headers, json.loads(body)))
        prepared = self.server.next()
        if prepared.wait:
            self.server.release.wait(10)
        if prepared.drop == "at once":
            self.close_connection = True
            return
        time.sleep(prepared.delay)
        if prepared.drip:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            for _ in range(200):
                if self.server.release.wait(0.05):
                    break
                self.wfile.write(b"X-More: y\r\n")
            return
        raw = prepared.raw
        self.send_response(prepared.status)
        self.send_header("Content-Type", prepared.kind)
        for name, value in prepared.headers.items():
            self.send_header(name, value)
        if prepared.trickle:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not self.server.release.wait(0.05):
                self.wfile.write(b"1\r\n \r\n")
            return
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if prepared.drop == "midway":
            self.wfile.write(raw[: len(raw) // 2])
            self.close_connection = True
            return
        self.wfile.write(raw)
