"""W&B's server as far as one run needs it, on the loopback: it takes the curve of a run and tells how far it is."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "a" * 40


class Server(ThreadingHTTPServer):
    """`steps` are those of the curve it holds, `names` the operations it was asked for."""

    daemon_threads = True

    def __init__(self, status=200):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.steps, self.names = status, [], []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that went away is none of the server's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status, answer = self.server.status, {}
        if status is None:
            time.sleep(60)
        elif "graphql" in self.path:
            answer = {"data": _graphql(self.server, json.loads(body))}
        elif "file_stream" in self.path:
            history = (json.loads(body).get("files") or {}).get("wandb-history.jsonl")
            if history is not None:
                steps = [json.loads(line)["_step"] for line in history["content"]]
                self.server.steps[history["offset"] :] = steps
        content = json.dumps(answer).encode()
        self.send_response(status or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST  # noqa: N815 -- names of http.server

    def log_message(self, *_):
        """Say nothing."""


def _graphql(server, request):
    query, variables = request["query"], request.get("variables") or {}
    server.names.append(request.get("operationName"))
    entity = {"id": "E", "name": "us"}
    project = {"id": "P", "name": "negprompt", "entity": entity}
    run = {"id": "R", "name": variables.get("name"), "displayName": "run", "project": project, "sweepName": None}
    tail = {"_step": server.steps[-1], "_runtime": 1} if server.steps else {}
    state = {
        "summaryMetrics": json.dumps(tail),
        "historyTail": json.dumps([json.dumps(tail)]),
        "historyLineCount": len(server.steps),
        "logLineCount": 0,
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "config": "{}",
        "wandbConfig": '{"t": 1}',
        "tags": [],
    }
    if "RunResumeStatus" in query:
        return {"model": {**project, "bucket": run | state} if server.steps else None}
    if "upsertBucket" in query:
        return {"upsertBucket": {"bucket": run | state, "inserted": not server.steps}}
    if "createRunFiles" in query:
        files = [{"name": name, "uploadUrl": f"{server.url}/file"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}
    if "viewer" in query:
        return {"viewer": {"id": "U", "entity": "us", "username": "us", "flags": "{}", "teams": {"edges": []}}}
    return {}


@contextmanager
def served(status=200) -> Iterator[Server]:
    """A server that answers every call with a status; None: it accepts calls and never answers."""
    server = Server(status)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
