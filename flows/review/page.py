"""The page that shows a row a screen, on this machine alone: its server, and what it asks and is told."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from flows.config import Retrain
from flows.review.decisions import Choice, Decisions, Reviewed
from tasks.data.examine import verdicts
from tasks.engine.errors import UserError
from tasks.reporting.examples import passages
from tasks.text import detect

PAGE = Path(__file__).parent / "page.html"
RISKS = {"rejected": 4.0, "warned": 2.0, "kind": 1.0, "new": 0.5}  # what is looked at first
DOUBTFUL = ("partly", "false_premise", "missed", "contrast", "unanswerable")  # kinds that are easily wrong


class Review:
    """Rows of a file, riskiest first or in order, and the decisions about them."""

    def __init__(self, data: Path, rows: Sequence[Reviewed], decisions: Decisions, config: Retrain, order: str) -> None:
        self.data, self.decisions, self.config = data, decisions, config
        found = list(verdicts([data], config.validated.by_row))
        self.findings = {row.id: verdict for row, verdict in zip(rows, found, strict=True)}
        decided = {name for by_one in decisions.all.values() for name in by_one}
        self.seen = {row.row.get("document") for row in rows if row.id in decided}
        in_order = sorted(rows, key=lambda row: (-self.risk(row), _lot(row.id))) if order == "risk" else rows
        self.rows = {row.id: row for row in in_order}

    def risk(self, row: Reviewed) -> float:
        """How much a row needs a person: more is more."""
        verdict = self.findings[row.id]
        risk = RISKS["rejected"] * (verdict.verdict == "rejected") + RISKS["warned"] * bool(verdict.findings)
        risk += RISKS["kind"] * (row.row.get("kind") in DOUBTFUL)
        return risk + RISKS["new"] * (row.row.get("document") not in self.seen)

    def listed(self) -> dict[str, Any]:
        """The ids in order, what this reviewer decided of them, and how far reviewers agree."""
        several, agreed = self.decisions.agreement()
        return {
            "rows": list(self.rows),
            "decided": {name: each.choice for name, each in self.decisions.own.items() if name in self.rows},
            "by": self.decisions.by,
            "file": self.data.name,
            "several": several,
            "agreed": agreed,
        }

    def shown(self, name: str) -> dict[str, Any]:
        """All that one screen tells of a row."""
        row, own = self.rows[name].row, self.decisions.own.get(name)
        code = row.get("language") or detect(row["query"], row["answer"], *row["context"])
        marked = passages(row["context"], row["answer"], row["answer"], self.config.validation.refusal, code)
        beside = [
            each for each in self.rows.values() if each.row.get("document") == row.get("document") and each.id != name
        ]
        return {
            "id": name,
            **{key: row.get(key) for key in ("query", "answer", "document", "kind", "writer")},
            "context": marked,
            "findings": [asdict(each) for each in self.findings[name].findings],
            "own": own.model_dump() if own else None,
            "others": {
                who: each.choice for who, by_one in self.decisions.all.items()
                if who != self.decisions.by and (each := by_one.get(name))
            },
            "neighbours": [{"query": each.row["query"], "answer": each.row["answer"]} for each in beside[:8]],
        }  # fmt: skip

    def alike(self, before: str, after: str, name: str) -> list[dict[str, str]]:
        """Other rows that the repair from one text to another would change: id, and their answer then."""
        old, new = _difference(before, after)
        if not old:
            return []
        found = ((each, each.row["answer"]) for each in self.rows.values() if each.id != name)
        return [
            {"id": each.id, "before": answer, "after": answer.replace(old, new)}
            for each, answer in found
            if old in answer and each.id not in self.decisions.own
        ]

    def decide(self, name: str, choice: Choice, query: str | None, answer: str | None) -> None:
        edited = (query, answer) if choice == "edit" else (None, None)
        self.decisions.decide([(self.rows[name], choice, *edited)])

    def repair(self, before: str, after: str, name: str) -> str:
        """Make the same repair in all rows that share it; returns the name by which it is undone whole."""
        group = uuid4().hex[:12]
        changed = [(self.rows[each["id"]], each["after"]) for each in self.alike(before, after, name)]
        self.decisions.decide([(row, "edit", row.row["query"], answer) for row, answer in changed], group)
        return group

    def undo(self, group: str) -> None:
        """Take back all that was decided at one stroke."""
        names = [name for name, each in self.decisions.own.items() if each.group == group]
        self.decisions.decide([(self.rows[name], "open", None, None) for name in names if name in self.rows])


def _lot(name: str) -> bytes:
    return sha256(name.encode()).digest()


def _difference(before: str, after: str) -> tuple[str, str]:
    """What was taken out and what was put in its place, in whole words."""
    old, new = before.split(), after.split()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return " ".join(old), " ".join(new)


def app(review: Review, token: str) -> Starlette:
    """The page and its five questions; each needs the token."""

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers={"Referrer-Policy": "no-referrer"})

    async def rows(request: Request) -> Response:
        return JSONResponse(review.listed())

    async def row(request: Request) -> Response:
        return JSONResponse(review.shown(request.query_params["id"]))

    async def decide(request: Request) -> Response:
        said = await request.json()
        review.decide(said["id"], said["choice"], said.get("query"), said.get("answer"))
        return JSONResponse(review.listed())

    async def alike(request: Request) -> Response:
        said = await request.json()
        return JSONResponse(review.alike(said["before"], said["after"], said["id"]))

    async def repair(request: Request) -> Response:
        said = await request.json()
        if "undo" in said:
            review.undo(said["undo"])
            return JSONResponse(review.listed())
        return JSONResponse({"group": review.repair(said["before"], said["after"], said["id"]), **review.listed()})

    def guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            given = request.query_params.get("token") or request.headers.get("x-token") or ""
            if not secrets.compare_digest(given.encode(), token.encode()):
                return PlainTextResponse("the address in the terminal has the token", 403)
            try:
                return await endpoint(request)
            except (KeyError, TypeError, ValueError) as error:
                return PlainTextResponse(f"cannot read that: {error}", 400)

        return answer

    routes = [Route("/", guarded(page)), Route("/rows", guarded(rows)), Route("/row", guarded(row))]
    routes += [Route(f"/{each.__name__}", guarded(each), methods=["POST"]) for each in (decide, alike, repair)]
    return Starlette(routes=routes)


def serve(review: Review, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; says its address. UserError if the port is taken."""
    import socket

    import uvicorn

    token = secrets.token_urlsafe(16)
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(("127.0.0.1", port))
            place.listen()  # before the address is said
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}", "leave --port out, and a free one is taken") from None
        say(f"http://127.0.0.1:{place.getsockname()[1]}/?token={token}")
        config = uvicorn.Config(app(review, token), log_level="warning", lifespan="off")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[place])
