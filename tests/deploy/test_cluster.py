"""What deploy/compose.cluster.yml says, held against what the service makes of it. That mode itself is run, without
containers, by tests/conformance.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from backend.settings import ROOT, Settings, UnsafeSettings
from tests.deploy.test_compose import interpolated

GIVEN = {
    "VR_AUTH__SECRET": "a-secret-of-this-test-alone-0123456789",
    "POSTGRES_PASSWORD": "of the database",
    "RABBITMQ_PASSWORD": "of the broker",
    "S3_SECRET_KEY": "of the storage",
}
Compose = dict[str, Any]


@pytest.fixture
def compose() -> Compose:
    document: Compose = YAML(typ="safe").load(ROOT / "deploy" / "compose.cluster.yml")
    return document


def settings(compose: Compose, monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for name, value in compose["services"]["api"]["environment"].items():
        monkeypatch.setenv(name, interpolated(value, GIVEN | given))
    return Settings(_env_file=None)


def test_the_settings_are_a_safe_cluster(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    said = settings(compose, monkeypatch)
    said.refuse_unsafe()
    assert said.database_url.startswith("postgresql+psycopg://vocal:")
    assert said.queue.url.startswith("amqp://vocal:")
    assert said.storage.bucket and said.storage.endpoint.startswith("http://s3:")
    assert said.limit.storage.startswith("redis://redis:"), "counted by all API containers together"
    with pytest.raises(UnsafeSettings):
        settings(compose, monkeypatch, VR_AUTH__SECRET="short").refuse_unsafe()


@pytest.mark.parametrize("name", list(GIVEN))
def test_the_file_asks_for_each_secret(compose: Compose, name: str) -> None:
    text = (ROOT / "deploy" / "compose.cluster.yml").read_text("utf-8")
    with pytest.raises(AssertionError, match=f"{name} is required"):
        interpolated(text, {other: value for other, value in GIVEN.items() if other != name})


def test_every_service_of_ours_has_the_same_environment_and_can_end(compose: Compose) -> None:
    services = compose["services"]
    grace = Settings(_env_file=None).worker.grace_seconds
    assert float(services["worker"]["stop_grace_period"].removesuffix("s")) > grace
    assert services["api"]["deploy"]["replicas"] == services["worker"]["deploy"]["replicas"] == 2
    assert services["api"]["environment"]["VR_WORKER__EXPECTED"] == "2"
    for name in ("prepare", "api", "worker"):
        assert services[name]["environment"] == services["api"]["environment"]
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"]


def test_only_the_proxy_is_believed(compose: Compose) -> None:
    [network] = compose["networks"]["default"]["ipam"]["config"]
    assert compose["services"]["api"]["environment"]["VR_LIMIT__TRUSTED_PROXIES"] == network["subnet"]
    assert ipaddress.ip_network(network["subnet"]).is_private
    assert "ports" not in compose["services"]["api"], "nobody gets past the proxy"
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_proxy_lets_songs_and_events_through(compose: Compose) -> None:
    config = (ROOT / "deploy" / compose["configs"]["nginx"]["file"]).read_text("utf-8")
    said = dict(re.findall(r"^\s*(client_max_body_size|proxy_buffering|proxy_request_buffering) (\w+);", config, re.M))
    assert said["proxy_buffering"] == said["proxy_request_buffering"] == "off"
    assert int(said["client_max_body_size"].removesuffix("m")) << 20 > Settings(_env_file=None).upload.max_bytes
    assert "X-Forwarded-For $remote_addr;" in config, "what the client says of itself is thrown away"
    listens = re.search(r"listen (\d+);", config)
    assert listens and compose["services"]["proxy"]["ports"][0].endswith(f":{listens[1]}")


def test_the_proxy_writes_down_no_link(compose: Compose) -> None:
    config = (ROOT / "deploy" / compose["configs"]["nginx"]["file"]).read_text("utf-8")
    logged = re.findall(r"access_log (\S+) (\w+);", config)
    [(name, form)] = re.findall(r"log_format (\w+) ([^;]+);", config)
    assert logged == [("/dev/stdout", name)]
    assert set(re.findall(r"\$(\w+)", form)).isdisjoint(
        {"request", "request_uri", "args", "query_string", "http_referer"}
    )
    assert "error_log /dev/stderr alert;" in config, "below that, it writes requests whole"


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/compose.cluster.yml"])
def test_the_image_can_back_up_the_database_beside_it(file: str) -> None:
    server = YAML(typ="safe").load(ROOT / file)["services"]["postgres"]["image"]
    client = re.search(r"postgresql-client-(\d+)=", (ROOT / "deploy" / "Dockerfile").read_text("utf-8"))
    assert client and server.startswith(f"postgres:{client[1]}-"), "pg_dump refuses a server that is newer"


def test_kubernetes_gives_workers_time_and_looks_at_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = YAML(typ="safe").load(ROOT / "deploy" / "kubernetes" / "vocal-remover.yaml")["items"]
    found = {(each["kind"], each["metadata"]["name"]): each for each in manifests}
    given = found["ConfigMap", "vocal-remover"]["data"]
    for name, value in {**given, "VR_AUTH__SECRET": GIVEN["VR_AUTH__SECRET"]}.items():
        monkeypatch.setenv(name, value)
    said = Settings(_env_file=None)
    said.refuse_unsafe()
    worker, api = (found["Deployment", name]["spec"]["template"]["spec"] for name in ("worker", "api"))
    assert worker["terminationGracePeriodSeconds"] > said.worker.grace_seconds
    assert api["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert worker["containers"][0]["livenessProbe"]["exec"]["command"] == ["python", "-m", "cli.alive", "worker"]
    for pod in (api, worker):
        assert pod["initContainers"][0]["args"] == ["prepare"]
        for container in pod["initContainers"] + pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["envFrom"][1]["secretRef"]["name"] == "vocal-remover"
    for kind in ("Service", "PodDisruptionBudget"):
        selector = found[kind, "api"]["spec"]["selector"]
        assert selector.get("matchLabels", selector) == found["Deployment", "api"]["spec"]["selector"]["matchLabels"]
