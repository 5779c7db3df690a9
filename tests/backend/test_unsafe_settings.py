"""Production refuses each unsafe setting by name; secrets come from the environment or from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backend.settings import Settings, UnsafeSettings
from tests.processes import Process, environment

SECRET = "a secret of the operator's own, long enough"
WEB = "VR_WEB__ALLOWED_ORIGINS"

UNSAFE: dict[str, tuple[dict[str, Any], str]] = {
    "the development secret": ({"auth": {}}, "VR_AUTH__SECRET is the development secret"),
    "a short secret": ({"auth": {"secret": "short"}}, "VR_AUTH__SECRET is shorter than 32"),
    "a short accepted one": ({"auth": {"secret": SECRET, "accepted_secrets": "short"}}, "VR_AUTH__ACCEPTED_SECRETS is"),
    "the demo user": ({"demo_user": True}, "VR_DEMO_USER is on"),
    "webhooks in the clear": ({"webhook": {"insecure": True}}, "VR_WEBHOOK__INSECURE is on"),
    "a mail password in the clear": (
        {"mail": {"host": "mail.example.com", "tls": "none", "password": "x"}},
        "VR_MAIL__TLS is none",
    ),
    "letters with http links": ({"mail": {"link_base": "http://app.example.com"}}, "VR_MAIL__LINK_BASE is http"),
    "paying over http": ({"payment": {"checkout_url": "http://pay.example.com"}}, "VR_PAYMENT__CHECKOUT_URL is http"),
    "links to songs over http": (
        {"storage": {"url": "s3://songs", "endpoint": "http://s3.example.com"}},
        "VR_STORAGE__LINKS are http",
    ),
    "every origin": ({"web": {"allowed_origins": "*"}}, f"{WEB} is \\*"),
    "every origin and another": ({"web": {"allowed_origins": "https://a.example.com,*"}}, f"{WEB} is \\*"),
    "an http origin": ({"web": {"allowed_origins": "http://a.example.com"}}, f"{WEB} names an http origin"),
    "a secret that repeats itself": ({"auth": {"secret": "ab" * 20}}, "VR_AUTH__SECRET repeats itself"),
    "every proxy": ({"limit": {"trusted_proxies": "10.0.0.1, *"}}, "VR_LIMIT__TRUSTED_PROXIES names everybody"),
    "every proxy as networks": (
        {"limit": {"trusted_proxies": "0.0.0.0/1,128.0.0.0/1"}},
        "VR_LIMIT__TRUSTED_PROXIES names everybody",
    ),
    "webhooks to anywhere": (
        {"webhook": {"allowed_networks": "10.0.0.0/8, ::/0"}},
        "VR_WEBHOOK__ALLOWED_NETWORKS names everything",
    ),
    "no end of logins": ({"limit": {"login": "1000000 per second"}}, "VR_LIMIT__LOGIN lets"),
    "a guessed database password": ({"db": {"url": "postgresql://vocal:postgres@db/x"}}, "VR_DB__URL has a password"),
    "the user's name for one": ({"db": {"url": "postgresql://vocal:vocal@db/x"}}, "VR_DB__URL has a password"),
    "a guessed broker password": ({"queue": {"url": "amqp://guest:guest@rabbit//"}}, "VR_QUEUE__URL has a password"),
    "a guessed one, escaped": ({"queue": {"url": "redis://:%73ecret@redis/0"}}, "VR_QUEUE__URL has a password"),
    "of the second broker": (
        {"queue": {"url": "amqp://vocal:kXq81-long@a//;amqp://vocal:vocal@b//"}},
        "VR_QUEUE__URL has a password",
    ),
    "none for RabbitMQ": ({"queue": {"url": "amqp://vocal@rabbit//"}}, "VR_QUEUE__URL has .* or none for RabbitMQ"),
    "no broker URL": ({"queue": {"url": "redis://[redis/0"}}, "VR_QUEUE__URL is no broker URL"),
    "no storage secret": ({"storage": {"url": "s3://songs", "access_key": "vocal"}}, "VR_STORAGE__SECRET_KEY is empty"),
    "a guessed storage secret": (
        {"storage": {"url": "s3://songs", "access_key": "vocal", "secret_key": "minioadmin"}},
        "VR_STORAGE__SECRET_KEY is empty or guessed",
    ),
    "the access key for one": (
        {"storage": {"url": "s3://songs", "access_key": "vocal-songs", "secret_key": "vocal-songs"}},
        "VR_STORAGE__SECRET_KEY is empty or guessed",
    ),
    "no database URL": ({"db": {"url": "postgres"}}, "VR_DB__URL is no database URL"),
}


def production(**changes: Any) -> Settings:
    return Settings(_env_file=None, **{"environment": "production", "auth": {"secret": SECRET}} | changes)


@pytest.mark.parametrize("case", UNSAFE)
def test_production_refuses(case: str) -> None:
    changes, reason = UNSAFE[case]
    with pytest.raises(UnsafeSettings, match=reason) as refused:
        production(**changes).refuse_unsafe()
    assert str(refused.value).count("VR_") == 1  # this reason, and none that is not there
    Settings(_env_file=None, **{"environment": "development"} | changes).refuse_unsafe()


def test_production_says_all_of_them_and_no_secret() -> None:
    settings = production(
        auth={"secret": "a short one"}, demo_user=True, webhook={"insecure": True}, web={"allowed_origins": "*"}
    )
    with pytest.raises(UnsafeSettings) as refused:
        settings.refuse_unsafe()
    for name in ("VR_AUTH__SECRET", "VR_DEMO_USER", "VR_WEBHOOK__INSECURE", WEB):
        assert name in str(refused.value)
    assert "a short one" not in str(refused.value)


def test_production_takes_what_is_safe() -> None:
    production(
        db={"url": "postgresql+psycopg://vocal:kXq81-long-and-random@db/x"},
        queue={"url": "amqp://vocal:kXq81-long-and-random@rabbit//;redis://redis:6379/0"},
        storage={"url": "s3://songs", "access_key": "vocal", "secret_key": "kXq81-long-and-random"},
        web={"allowed_origins": "https://app.example.com"},
        limit={"trusted_proxies": "10.0.0.1, 10.0.0.0/8, fd00::/8"},
        webhook={"allowed_networks": "10.1.0.0/16"},
        mail={"host": "mail.example.com", "password": "x", "link_base": "https://app.example.com"},
    ).refuse_unsafe()


def test_the_machine_s_own_access_to_the_storage_is_safe() -> None:
    production(storage={"url": "s3://songs"}).refuse_unsafe()


def test_no_process_starts_with_unsafe_settings(tmp_path: Path) -> None:
    env = environment(tmp_path, VR_ENVIRONMENT="production", VR_AUTH__SECRET="too short", **{WEB: "*"})
    for command in ("api", "worker", "prepare"):
        process = Process([command], env, tmp_path / f"{command}.log")
        assert process.wait() == 1
        assert "VR_AUTH__SECRET is shorter" in process.text() and f"{WEB} is *" in process.text()
        assert "too short" not in process.text()


def test_secrets_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    values = {
        "VR_DB__URL": "postgresql://vocal:from-a-file@db/x",
        "VR_QUEUE__URL": "amqp://vocal:from-a-file@broker",
        "VR_AUTH__SECRET": SECRET,
        "vr_mail__password": "from a file",
    }
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")
    monkeypatch.setenv("VR_SECRETS_DIR", str(folder))
    monkeypatch.setenv("VR_MAIL__HOST", "mail.example.com")
    settings = Settings(_env_file=None)
    assert settings.db.url == values["VR_DB__URL"]
    assert settings.queue.url == values["VR_QUEUE__URL"]
    assert settings.auth.secrets == (SECRET,)
    assert (settings.mail.password.get_secret_value(), settings.mail.host) == ("from a file", "mail.example.com")
    monkeypatch.setenv("VR_DB__URL", "sqlite:///from-the-environment")
    assert Settings(_env_file=None).db.url == "sqlite:///from-the-environment"


def test_the_folder_of_secrets_may_be_named_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "VR_AUTH__SECRET").write_text(SECRET)
    (tmp_path / ".env").write_text(f"VR_SECRETS_DIR={tmp_path}\n")
    assert Settings(_env_file=tmp_path / ".env").auth.secrets == (SECRET,)


def test_a_folder_of_secrets_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VR_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ValidationError, match="secrets_dir"):
        Settings(_env_file=None)
