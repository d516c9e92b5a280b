"""Credentials in what people read."""

import pytest
from pydantic import ValidationError

from flows.config import load
from flows.maintain import Maintain
from flows.promote import Promote, Rollback
from flows.refresh import Refresh
from tasks.engine.errors import UserError, redacted


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("cannot reach http://me:pa55@host:4200/api", "cannot reach http://…@host:4200/api"),
        ("s3://KEYID:SECRET/x@bucket is odd", "s3://KEYID:SECRET/x@bucket is odd"),  # a path may hold an @
        ("postgresql+asyncpg://u:p@db/x and https://t@hub", "postgresql+asyncpg://…@db/x and https://…@hub"),
        ("https://host/v1?v=1&api_key=abc&x=2", "https://host/v1?v=1&api_key=…&x=2"),
        ("mail me@example.org, see http://host/a@b", "mail me@example.org, see http://host/a@b"),
    ],
)
def test_the_user_part_of_an_address_is_left_out(said, kept):
    assert redacted(said) == kept


def test_values_of_secret_variables_are_left_out(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:very-secret")
    monkeypatch.setenv("SHORT_KEY", "the")
    error = UserError("the server said sk-very-secret", "ask admin:very-secret")
    assert "secret" not in str(error) and "secret" not in repr(error)
    assert error.what == "the server said …"


@pytest.mark.parametrize(
    "setting",
    [
        "store=s3://AKIA:wJalrXUtnFEMI@bucket/prefix",
        "runner_address=tcp://user:wJalrXUtnFEMI@scheduler:8786",
        "judge.llm.endpoint.url=https://user:wJalrXUtnFEMI@host/v1",
        "judge.llm.endpoint.url=https://host/v1?key=wJalrXUtnFEMI",
    ],
)
def test_a_config_takes_no_address_with_a_password_and_does_not_repeat_it(setting):
    with pytest.raises(UserError) as refused:
        load(None, [setting])
    assert setting.partition("=")[0] in refused.value.what
    assert "wJalrXUtnFEMI" not in str(refused.value)


@pytest.mark.parametrize("request_of", [Maintain, Promote, Refresh, Rollback])
def test_no_flow_takes_a_store_with_a_password(request_of):
    needed = {"because": "it errs"} if "because" in request_of.model_fields else {}
    with pytest.raises(ValidationError, match="an address without user and password"):
        request_of(store="s3://AKIA:wJalrXUtnFEMI@bucket/prefix", **needed)


@pytest.mark.parametrize(
    "variable", ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"]
)
def test_a_judge_is_not_sent_other_secrets_of_the_worker(variable):
    with pytest.raises(UserError, match="ending in _API_KEY"):
        load(None, [f"judge.llm.endpoint.key_variable={variable}"])
