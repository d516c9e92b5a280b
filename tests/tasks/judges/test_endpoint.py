"""Requests over real HTTP: what is tried again, what is given up, what is spent, and what is never told."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from tasks.engine.errors import UserError
from tasks.judges.endpoint import GIVE_UP, BudgetConfig, Endpoint, EndpointConfig, NoReply
from tests.tasks.judges.chat_server import KEY, ChatServer, completion, error

BODY = {"model": "stand-in", "messages": [{"role": "user", "content": "x" * 400}]}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", KEY)


def endpoint(server, *, requests=None, tokens=None, **settings):
    config = EndpointConfig(url=server.url, key_variable="JUDGE_API_KEY", **settings)
    return Endpoint(config, BudgetConfig(requests=requests, tokens=tokens))


def first(*faults):
    """The first requests get these, the others are judged."""
    return lambda number: faults[number] if number < len(faults) else None


def always(*fault):
    return lambda number: fault


def said(reply="yes"):
    return (200, {}, completion(reply))


def test_a_reply_comes_with_what_it_cost():
    with ChatServer(always(*said("no"))) as server:
        asked = endpoint(server)
        assert asked.complete(**BODY) == ("no", 100, 20)
        assert (asked.requests, asked.prompt_tokens, asked.completion_tokens) == (1, 100, 20)
        assert server.requests == [BODY]


def test_tokens_are_estimated_where_the_server_tells_none():
    with ChatServer(always(200, {}, completion("four" * 10, usage=False))) as server:
        assert endpoint(server).complete(**BODY)[1:] == (100, 10)


def test_too_many_requests_are_tried_again_when_the_server_says():
    with ChatServer(first((429, {"Retry-After": "2"}, error("slow down")), said())) as server:
        start = time.monotonic()
        assert endpoint(server).complete(**BODY).text == "yes"
        assert time.monotonic() - start >= 2
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_a_servers_trouble_is_tried_again(status):
    with ChatServer(first((status, {}, error("oops")), said())) as server:
        assert endpoint(server).complete(**BODY).text == "yes"
        assert len(server.requests) == 2


def test_lasting_trouble_is_a_missing_judgement_with_its_reason():
    with ChatServer(always(500, {}, error("out of memory"))) as server:
        asked = endpoint(server, retries=1)
        with pytest.raises(NoReply, match="unreachable"):
            asked.complete(**BODY)
        assert len(server.requests) == asked.requests == 2
        assert "out of memory" in asked.trouble


def test_an_endpoint_that_is_down_is_soon_given_up():
    with ChatServer(always(500, {}, error("oops"))) as server:
        asked = endpoint(server, retries=0)
        for _ in range(GIVE_UP + 20):
            with pytest.raises(NoReply, match="unreachable"):
                asked.complete(**BODY)
        assert len(server.requests) == GIVE_UP


def test_no_server_at_all_is_unreachable():
    with ChatServer() as server:
        asked = endpoint(server, retries=0)
    with pytest.raises(NoReply, match="unreachable"):
        asked.complete(**BODY)


def test_a_reply_that_takes_too_long_is_unreachable():
    with ChatServer(always(*said())) as server:
        server.slow = 5
        with pytest.raises(NoReply, match="unreachable"):
            endpoint(server, timeout=0.3, retries=0).complete(**BODY)


@pytest.mark.parametrize(
    "content", [b'{"choices": [', b"<html>busy</html>", b'{"choices": []}', b"null", b"[]", b'{"error": "x"}', b"\xff"]
)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_a_body_that_is_no_completion_is_unreadable(content, kind):
    with ChatServer(always(200, {"Content-Type": kind}, content)) as server, pytest.raises(NoReply, match="unreadable"):
        endpoint(server, retries=0).complete(**BODY)


def test_a_request_that_the_server_refuses_is_missing_and_not_tried_again():
    with ChatServer(first((400, {}, error("the context is too long")), said())) as server:
        asked = endpoint(server)
        with pytest.raises(NoReply, match="refused"):
            asked.complete(**BODY)
        assert asked.complete(**BODY).text == "yes"
        assert len(server.requests) == 2


def test_a_redirect_is_not_followed_with_the_key():
    with ChatServer(always(*said())) as other:
        elsewhere = {"Location": f"{other.url}/chat/completions"}
        with ChatServer(always(307, elsewhere, b"")) as server, pytest.raises(NoReply, match="refused"):
            endpoint(server, retries=0).complete(**BODY)
        assert other.requests == []


def test_the_budget_of_requests_counts_those_that_are_tried_again():
    with ChatServer(always(500, {}, error("oops"))) as server:
        with pytest.raises(NoReply, match="budget"):
            endpoint(server, requests=2, retries=5).complete(**BODY)
        assert len(server.requests) == 2


def test_no_thread_passes_the_budget_of_requests():
    def ask(_):
        try:
            return asked.complete(**BODY).text
        except NoReply as missing:
            return missing.reason

    with ChatServer(always(*said())) as server, ThreadPoolExecutor(8) as pool:
        asked = endpoint(server, requests=10, concurrency=8)
        replies = list(pool.map(ask, range(30)))
        assert sorted(replies) == ["budget"] * 20 + ["yes"] * 10
        assert len(server.requests) == 10


def test_the_budget_of_tokens_ends_the_asking():
    with ChatServer(always(*said())) as server:
        asked = endpoint(server, tokens=300)  # a reply takes 120
        for _ in range(3):
            asked.complete(**BODY)
        with pytest.raises(NoReply, match="budget"):
            asked.complete(**BODY)
        assert len(server.requests) == 3


def test_a_wrong_key_is_the_users_to_mend_and_is_not_repeated(monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "sk-secret-and-wrong")
    with ChatServer() as server, pytest.raises(UserError, match="401.*Incorrect API key") as raised:
        endpoint(server).complete(**BODY)
    assert "key_variable" in raised.value.remedy
    assert "sk-secret" not in f"{raised.value} {raised.value.__cause__}"
    assert raised.value.__suppress_context__
    assert len(server.requests) == 1


def test_a_missing_key_names_its_variable(monkeypatch):
    monkeypatch.delenv("JUDGE_API_KEY")
    with ChatServer() as server, pytest.raises(UserError, match="JUDGE_API_KEY holds no API key"):
        endpoint(server)


def test_a_server_without_keys_needs_none(monkeypatch):
    monkeypatch.delenv("JUDGE_API_KEY")
    with ChatServer(always(*said()), key=None) as server:
        asked = Endpoint(EndpointConfig(url=server.url, key_variable=None), BudgetConfig())
        assert asked.complete(**BODY).text == "yes"


def test_an_address_or_a_model_that_is_not_there_is_the_users_to_mend():
    with ChatServer(always(404, {}, error("no such model"))) as server, pytest.raises(UserError, match="404") as raised:
        endpoint(server).complete(**BODY)
    assert "judge.llm.model (stand-in)" in raised.value.remedy


@pytest.mark.parametrize("url", ["host/v1", "https://me:secret@host/v1", "https://host/v1?key=secret"])
def test_an_address_that_carries_a_secret_is_refused(url):
    with pytest.raises(ValidationError, match="without user, password or query"):
        EndpointConfig(url=url)
