"""A kept patch's file, and what damage to it is met."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from engine.errors import PatchCorrupt
from engine.kept_patch import read_patch, write_patch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0"


@pytest.mark.parametrize("shape", [(1, 1), (12_345, 8), (0, 2)])
def test_samples_come_back(shape: tuple[int, int], path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)
    write_patch(path, samples)
    found = read_patch(path)
    assert found.dtype == np.float32 and found.shape == shape
    np.testing.assert_array_equal(found, samples)
    assert path.stat().st_size == 16 + samples.nbytes


def test_views_are_written_in_their_order(path: Path) -> None:
    samples = np.arange(60, dtype=np.float32).reshape(10, 6)[::2, 1:3]
    write_patch(path, samples)
    np.testing.assert_array_equal(read_patch(path), samples)


def test_damage_anywhere_is_met(path: Path) -> None:
    write_patch(path, np.linspace(-1, 1, 40, dtype=np.float32).reshape(20, 2))
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(PatchCorrupt):
            read_patch(path)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(PatchCorrupt):
            read_patch(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(PatchCorrupt):
        read_patch(path)
    assert PatchCorrupt.transient


def test_the_systems_own_reasons_stay(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_patch(tmp_path / "none")
    with pytest.raises(OSError, match="No space left") as full:
        write_patch(Path("/dev/full"), np.zeros((10, 2), np.float32))
    assert full.value.errno == errno.ENOSPC
