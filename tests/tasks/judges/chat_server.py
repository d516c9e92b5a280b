"""A stand-in for an OpenAI-compatible endpoint: it speaks the protocol over real HTTP, and judges by plain rules."""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.text import content_stems

KEY = "sk-test-4f1d9c"
Says = Callable[[list[dict[str, str]]], str]  # the reply to messages
Fault = Callable[[int], tuple[int, dict[str, str], bytes] | None]  # of a request's number, from 0; None: none


class ChatServer:
    """`with ChatServer() as server:` serves on 127.0.0.1; `requests` are the bodies that came, as parsed JSON.

    `fault` may answer a request in the place of the judge: (status, headers, body).
    """

    def __init__(
        self, fault: Fault = lambda number: None, *, key: str | None = KEY, says: "Says | None" = None
    ) -> None:
        self._says = says or judge
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.slow = 0.0  # seconds
        self._at_once = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers, content = server._reply(self.path, self.headers.get("Authorization"), body, fault, key)
                try:
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client has given up waiting

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()

    def _reply(
        self, path: str, authorization: str | None, body: dict[str, Any], fault: Fault, key: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.slow:
                self._stop.wait(self.slow)
            if path != "/v1/chat/completions":
                return 404, {}, error("no such route")
            if key and authorization != f"Bearer {key}":
                return 401, {}, error(f"Incorrect API key provided: {(authorization or '')[7:]}")
            return fault(number) or (200, {}, completion(self._says(body["messages"]), body["model"]))
        finally:
            with self._lock:
                self._at_once -= 1


def error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": None}}).encode()


def completion(text: str, model: str = "stand-in", *, usage: bool = True) -> bytes:
    reply: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }
    if usage:
        reply["usage"] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return json.dumps(reply).encode()


def judge(messages: list[dict[str, str]]) -> str:
    """A reply by rule: a statement per sentence; supported if all its content words stand in the passages."""
    instruction, data = messages[0]["content"], json.loads(messages[1]["content"])
    if "list every factual statement" in instruction:
        return json.dumps({"statements": [s for s in re.split(r"(?<=\.)\s+", data["answer"]) if s]})
    if "Check statements against passages" in instruction:
        known = {stem for passage in data["passages"] for stem in content_stems(passage)}
        verdicts = [
            {"number": s["number"], "reason": "…", "supported": set(content_stems(s["statement"])) <= known}
            for s in data["statements"]
        ]
        return f"Here you are:\n```json\n{json.dumps({'verdicts': verdicts})}\n```"
    questions = [f"What about this: {data['answer']}"] * data["count"]
    return f"<think>{{so…}}</think>{json.dumps({'questions': questions, 'noncommittal': False})}"
