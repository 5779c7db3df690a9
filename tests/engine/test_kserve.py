"""The runtime `kserve`: against a small server in this process, which misbehaves too, and against MLServer."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from engine.errors import InferenceServerUnavailable, InferenceServerWrong, RuntimeUnavailable
from engine.runtimes import kserve
from engine.runtimes.base import Session
from engine.runtimes.kserve import KserveRuntime
from engine.runtimes.onnx import OnnxRuntime
from tests.engine.inference_server import InferenceServer, inference_server
from tests.engine.small_graphs import INPUT, magnitudes, write_network
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
MODEL_PATH = "/v2/models/small"
INFER = f"{MODEL_PATH}/infer"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("graph") / "small.onnx")


@pytest.fixture
def server(graph: Path) -> Iterator[InferenceServer]:
    with inference_server({"small": graph}) as running:
        yield running


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the runtime would have waited between attempts."""
    waited: list[float] = []
    monkeypatch.setattr(kserve.time, "sleep", waited.append)  # type: ignore[attr-defined]
    return waited


def load(server: InferenceServer, graph: Path, timeout: float = 20) -> Session:
    return KserveRuntime(server.url, timeout=timeout).load(graph, threads=2)


def assert_same_as_here(session: Session, graph: Path) -> None:
    here = OnnxRuntime().load(graph, threads=1)
    for batch in (1, 3):
        inputs = {INPUT: magnitudes(batch)}
        for one, two in zip(here.run(inputs), session.run(inputs), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)
            assert two.dtype == np.float32 and two.flags.writeable


@pytest.mark.parametrize("binary", [True, False])
def test_a_server_gives_the_numbers_of_the_graph(server: InferenceServer, graph: Path, binary: bool) -> None:
    server.binary = binary
    session = load(server, graph)
    assert_same_as_here(session, graph)
    assert set(server.kinds) == {"application/octet-stream" if binary else "application/json"}
    info = session.info
    assert (info.name, info.precision) == ("kserve", "server")
    assert info.device == f"small 1.2 at {server.url.removeprefix('http://')}"
    session.close()


def test_many_threads_share_a_session(server: InferenceServer, graph: Path) -> None:
    session = load(server, graph)
    inputs = [{INPUT: magnitudes(seed=seed)} for seed in range(8)]
    alone = [session.run(one)[0] for one in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = [result[0] for result in pool.map(session.run, inputs)]
    np.testing.assert_array_equal(alone, together)
    session.close()


def test_a_busy_server_is_asked_again(server: InferenceServer, graph: Path, pauses: list[float]) -> None:
    session = load(server, graph)
    server.busy, server.retry_after = 3, "2"
    assert session.run({INPUT: magnitudes()})[0].shape == (1, 2, 16, 32)
    assert len(pauses) == 3
    assert pauses[0] >= 2 and max(pauses) <= kserve.LONGEST_PAUSE
    server.busy = 1000
    with pytest.raises(InferenceServerUnavailable, match="503: the queue is full") as raised:
        session.run({INPUT: magnitudes()})
    assert raised.value.transient
    assert server.busy == 1000 - kserve.ATTEMPTS
    session.close()


def test_nobody_there_is_worth_another_attempt(graph: Path, pauses: list[float]) -> None:
    with pytest.raises(InferenceServerUnavailable, match=r"127\.0\.0\.1.*does not answer \(ConnectError\)"):
        KserveRuntime(f"http://127.0.0.1:{free_port()}").load(graph, threads=1)
    assert len(pauses) == kserve.ATTEMPTS - 1
    assert pauses == sorted(pauses)


def test_a_server_that_hangs_up_is_worth_another_attempt(
    server: InferenceServer, graph: Path, pauses: list[float]
) -> None:
    session = load(server, graph)
    server.silent.set()
    with pytest.raises(InferenceServerUnavailable, match="does not answer"):
        session.run({INPUT: magnitudes()})
    server.silent.clear()
    assert session.run({INPUT: magnitudes()})
    session.close()


def test_a_model_that_is_not_there_is_named(server: InferenceServer, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(InferenceServerWrong, match="v2/models/absent/ready: it answers 404: no model absent"):
        load(server, tmp_path / "absent.onnx")
    assert not any(path.endswith("infer") for path in server.asked)


NO_OUTPUTS = {"name": "small", "inputs": [], "outputs": []}
OTHER_TYPE = {"outputs": [{"name": "vocals", "datatype": "INT64", "shape": [1]}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2", b"<html>a proxy's page</html>"),
        ("/v2", b"[]"),
        (MODEL_PATH, b"{}"),
        (MODEL_PATH, json.dumps(NO_OUTPUTS).encode()),
        (MODEL_PATH, json.dumps(OTHER_TYPE).encode()),
    ],
)
def test_what_is_no_inference_server_is_refused(server: InferenceServer, graph: Path, path: str, body: bytes) -> None:
    server.answers[path] = 200, body
    with pytest.raises(InferenceServerWrong):
        load(server, graph)


def answer(**changes: object) -> bytes:
    tensor = {"name": "vocals", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]} | changes
    return json.dumps({"outputs": [tensor]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"", "not one of this protocol"),
        (200, b"[1]", "not one of this protocol"),
        (200, answer(shape=[1, 3]), "not one of this protocol"),
        (200, answer(datatype="FP16"), "vocals is FP16"),
        (200, answer(parameters={"binary_data_size": 4}), "4 bytes for the shape"),
        (200, answer(parameters={"binary_data_size": 8}), "not one of this protocol"),
        (200, answer(), "lacks the output accompaniment"),
        (400, b'{"error": "wrong shape"}', "400: wrong shape"),
        (500, b"oops", "it answers 500"),
    ],
)
def test_answers_that_are_none_are_refused_without_another_attempt(
    server: InferenceServer, graph: Path, pauses: list[float], status: int, body: bytes, words: str
) -> None:
    session = load(server, graph)
    server.answers[INFER] = status, body
    with pytest.raises(InferenceServerWrong, match=words):
        session.run({INPUT: magnitudes()})
    assert not pauses
    session.close()


def test_what_can_not_be_asked_of_a_server(graph: Path) -> None:
    assert not KserveRuntime(None).available()
    with pytest.raises(RuntimeUnavailable, match="Nobody said where"):
        KserveRuntime(None).load(graph, threads=1)
    with pytest.raises(RuntimeUnavailable, match="bf16"):
        KserveRuntime("http://127.0.0.1:1").load(graph, threads=1, precision="bf16")
    for wrong in ("ftp://somewhere", "triton:8000", "http://[::"):
        with pytest.raises(RuntimeUnavailable, match="address"):
            KserveRuntime(wrong).load(graph, threads=1)


def test_an_address_shows_no_password(server: InferenceServer, graph: Path) -> None:
    runtime = KserveRuntime(server.url.replace("http://", "http://me:secret@"))
    session = runtime.load(graph, threads=1)
    assert "secret" not in session.info.device
    session.close()


def mlserver_python() -> Path:
    return Path(os.environ.get("VR_MLSERVER_PYTHON", ROOT / ".venv-mlserver" / "bin" / "python"))


@contextmanager
def mlserver(graph: Path, folder: Path) -> Iterator[str]:
    """A real MLServer that serves `graph`; gives its address."""
    port, grpc, metrics = free_port(), free_port(), free_port()
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 0, "metrics_endpoint": None}))
    tensor = {"datatype": "FP32", "shape": [-1, 2, 16, 32]}
    model = {
        "name": graph.stem,
        "implementation": "mlserver_onnx.OnnxModel",
        "parameters": {"uri": str(graph)},
        "inputs": [{"name": INPUT, **tensor}],
        "outputs": [{"name": name, **tensor} for name in ("vocals", "accompaniment")],
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "fixtures")}
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [mlserver_python().with_name("mlserver"), "start", folder],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + 60
            while True:
                assert child.poll() is None and time.monotonic() < end, (folder / "log").read_text()
                try:
                    if httpx.get(f"{url}/v2/health/ready").is_success:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            yield url
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@pytest.mark.skipif(
    not mlserver_python().exists(),
    reason="needs .venv-mlserver: run scripts/setup-mlserver, or name its python in VR_MLSERVER_PYTHON",
)
def test_mlserver_gives_the_numbers_of_the_graph(graph: Path, tmp_path: Path) -> None:
    with mlserver(graph, tmp_path) as url:
        session = KserveRuntime(url).load(graph, threads=1)
        assert_same_as_here(session, graph)
        assert session.info.device.startswith("mlserver 1.")
        session.close()
        with pytest.raises(InferenceServerWrong, match="absent"):
            KserveRuntime(url).load(graph.with_name("absent.onnx"), threads=1)
