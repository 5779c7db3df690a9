"""Ways to run a graph: the same numbers by each, whose they are, and what is said when one is not here."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError, RuntimeUnavailable
from engine.runtimes import choose as choosing
from engine.runtimes import onnx
from engine.runtimes.base import Precision, Runtime
from engine.runtimes.choose import choose
from engine.runtimes.onnx import OnnxRuntime
from engine.runtimes.openvino import OpenVinoRuntime
from tests.engine.small_graphs import INPUT, SHAPE, magnitudes, write_network

ALL = [OnnxRuntime, OpenVinoRuntime]
ONE = {INPUT: (1, *SHAPE)}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("graph") / "small.onnx")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("graph") / "quantised.onnx", quantised=True)


def has_bf16() -> bool:
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return "avx512_bf16" in flags


@pytest.mark.parametrize("shape", [None, ONE])
def test_both_runtimes_give_the_same_numbers(graph: Path, shape: dict[str, tuple[int, ...]] | None) -> None:
    reference, other = (make().load(graph, threads=1, precision="f32", shape=shape) for make in ALL)
    for seed in range(3):
        expected, found = (session.run({INPUT: magnitudes(seed=seed)}) for session in (reference, other))
        assert len(expected) == 2
        for one, two in zip(expected, found, strict=True):
            np.testing.assert_allclose(one, two, atol=2e-6)
            assert two.dtype == np.float32


def test_bf16_rounds_and_says_so(graph: Path) -> None:
    exact = OpenVinoRuntime().load(graph, threads=1, precision="f32")
    if not has_bf16():
        with pytest.raises(RuntimeUnavailable, match="bf16"):
            OpenVinoRuntime().load(graph, threads=1, precision="bf16")
        assert OpenVinoRuntime().load(graph, threads=1).info.precision == "f32"
        return
    rounded = OpenVinoRuntime().load(graph, threads=1)
    assert (exact.info.precision, rounded.info.precision) == ("f32", "bf16")
    one, two = (session.run({INPUT: magnitudes()})[0] for session in (exact, rounded))
    assert 1e-5 < np.abs(one - two).max() < 0.1


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("shape", [None, ONE])
def test_results_stay_the_callers_own(
    graph: Path, make: type[Runtime], shape: dict[str, tuple[int, ...]] | None
) -> None:
    session = make().load(graph, threads=1, precision="f32", shape=shape)
    first = session.run({INPUT: magnitudes(seed=1)})
    before = [output.copy() for output in first]
    session.run({INPUT: magnitudes(seed=2)})
    session.close()
    for kept, output in zip(before, first, strict=True):
        np.testing.assert_array_equal(kept, output)
        output[...] = 0  # It may be written to.


@pytest.mark.parametrize("make", ALL)
def test_many_threads_share_a_session(graph: Path, make: type[Runtime]) -> None:
    session = make().load(graph, threads=1, precision="f32", shape=ONE)
    alone = [session.run({INPUT: magnitudes(seed=seed)})[0] for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: session.run({INPUT: magnitudes(seed=seed)})[0], range(12)))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("make", ALL)
def test_a_closed_session_says_so(graph: Path, make: type[Runtime]) -> None:
    session = make().load(graph, threads=1)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run({INPUT: magnitudes()})


@pytest.mark.parametrize("make", ALL)
def test_only_a_quantised_graph_is_int8(graph: Path, quantised: Path, make: type[Runtime]) -> None:
    with pytest.raises(RuntimeUnavailable, match="int8"):
        make().load(graph, threads=1, precision="int8")
    session = make().load(quantised, threads=1)
    assert session.info.precision == "int8"
    exact = make().load(graph, threads=1, precision="f32")
    one, two = (loaded.run({INPUT: magnitudes()})[0] for loaded in (exact, session))
    assert 1e-6 < np.abs(one - two).max() < 0.2


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_onnx_runtime_refuses_what_it_can_not_compute_in(graph: Path, precision: Precision) -> None:
    with pytest.raises(RuntimeUnavailable, match=precision):
        OnnxRuntime().load(graph, threads=1, precision=precision)


def test_a_static_graph_refuses_other_shapes(graph: Path) -> None:
    session = OpenVinoRuntime().load(graph, threads=1, shape=ONE)
    with pytest.raises(EngineError, match="refuses its inputs"):
        session.run({INPUT: magnitudes(batch=2)})


def test_openvino_comes_without_what_reports_its_use() -> None:
    code = (
        "import sys\n"
        "from engine.runtimes.openvino import OpenVinoRuntime, package\n"
        "assert OpenVinoRuntime().available() and 'openvino' not in sys.modules\n"
        "assert package().Core\n"
        "reports = [name for name in sys.modules if 'telemetry' in name or name == 'openvino.tools.ovc']\n"
        "assert not reports, reports\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_cuda_is_tried_first_where_it_is(monkeypatch: pytest.MonkeyPatch, graph: Path) -> None:
    assert onnx.providers("auto") == [onnx.CPU]
    monkeypatch.setattr(onnx, "cuda_installed", lambda: True)
    monkeypatch.setattr(choosing, "cuda_installed", lambda: True)
    for device in ("auto", "cuda"):
        assert [p if isinstance(p, str) else p[0] for p in onnx.providers(device)] == [onnx.CUDA, onnx.CPU]
    assert isinstance(choose(), OnnxRuntime)


def test_cuda_that_does_not_start_is_an_error_by_name_and_the_cpu_in_auto(
    monkeypatch: pytest.MonkeyPatch, graph: Path
) -> None:
    monkeypatch.setattr(onnx, "cuda_installed", lambda: True)
    monkeypatch.setattr(onnx, "providers", lambda device: [onnx.CPU])  # what ONNX Runtime falls back to
    with pytest.raises(RuntimeUnavailable, match="did not start"):
        OnnxRuntime("cuda").load(graph, threads=1)
    assert OnnxRuntime("auto").load(graph, threads=1).info.device == onnx.CPU


@pytest.mark.skipif(onnx.cuda_installed(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "openvino"), ("AMD64", "openvino"), ("aarch64", "onnxruntime")]
)
def test_auto_goes_by_the_processor(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert choose().name == name


def test_without_openvino_auto_is_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoRuntime, "available", lambda self: False)
    assert choose().name == "onnxruntime"
    with pytest.raises(RuntimeUnavailable, match=r"pip install openvino.*here are: onnxruntime"):
        choose("openvino")
    monkeypatch.setattr(OnnxRuntime, "available", lambda self: False)
    with pytest.raises(RuntimeUnavailable, match="pip install onnxruntime"):
        choose()


def test_an_openvino_that_does_not_start_is_left_out_of_auto(tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libc is too old')")
    code = (
        "from engine.errors import RuntimeUnavailable\n"
        "from engine.runtimes.choose import choose\n"
        "assert choose().name == 'onnxruntime'\n"
        "try:\n"
        "    choose('openvino').load(None, threads=1)\n"
        "except RuntimeUnavailable as error:\n"
        "    assert 'libc is too old' in str(error)\n"
        "else:\n"
        "    raise SystemExit('it was loaded')\n"
    )
    root = Path(__file__).parents[2]
    found = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=found)


def test_a_runtime_by_name_is_that_one_or_an_error() -> None:
    assert choose("onnxruntime").name == "onnxruntime"
    with pytest.raises(RuntimeUnavailable, match="'tensorrt'.*openvino, onnxruntime"):
        choose("tensorrt")
    with pytest.raises(RuntimeUnavailable, match="the server's address"):
        choose("kserve", server_url="")
    assert choose("kserve", server_url="http://127.0.0.1:1").name == "kserve"
