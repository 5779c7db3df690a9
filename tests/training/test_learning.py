"""What needs torch runs in an interpreter that has it: VR_TRAINING_PYTHON or .venv-training (training/README.md)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = "import torch, onnx, onnxruntime, scipy, soundfile, soxr, av"
CHECKS = (
    "networks_have_their_shapes",
    "folding_loses_nothing",
    "batch_norms_fold_away",
    "graphs_compute_what_networks_do",
    "losses_know_right_from_wrong",
    "operations_are_counted",
    "a_graph_can_learn_on",
    "a_moment_depends_on_its_neighbourhood_alone",
    "a_stopped_run_ends_as_an_unstopped_one",
    "training_learns",
)


@pytest.fixture(scope="session")
def training_python() -> str:
    python = os.environ.get("VR_TRAINING_PYTHON", str(ROOT / ".venv-training" / "bin" / "python"))
    if not Path(python).exists() or subprocess.run([python, "-c", NEEDED], capture_output=True, check=False).returncode:
        pytest.skip("needs a Python with torch and what training needs: VR_TRAINING_PYTHON or .venv-training")
    return python


def run(python: str, name: str, folder: Path) -> None:
    command = [python, "-m", "tests.training.torch_checks", name, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_in_torch(name: str, training_python: str, tmp_path: Path) -> None:
    run(training_python, name, tmp_path)


@pytest.mark.timeout(600)
def test_the_study_can_be_measured(training_python: str, shared: Path) -> None:
    run(training_python, "the_study_can_be_measured", shared / "lite")
