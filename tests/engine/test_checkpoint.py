from __future__ import annotations

import csv
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoint import FOOTER_BYTES, masked_crc32c, read_checkpoint, read_index
from engine.errors import WeightsCorrupt
from tests.engine.checkpoints import write_checkpoint, write_random_checkpoint

DATA = "model.data-00000-of-00001"
TENSORS = {
    "conv2d/kernel": np.arange(2 * 3 * 4, dtype="<f4").reshape(2, 3, 4),
    "conv2d/bias": np.linspace(-1, 1, 3000, dtype="<f4"),
    "global_step": np.array(7, "<i8"),
} | {f"batch_normalization_{n}/beta": np.full(5, n, "<f4") for n in range(120)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "weights", TENSORS)
    return tmp_path / "weights"


def test_published_index_parses_to_the_tensor_list_beside_it(shared: Path) -> None:
    weights = shared / "data" / "weights"
    if not weights.is_dir():
        pytest.skip(f"needs ../shared/data: {weights}")
    with (weights / "official_2stems_tensors.csv").open(newline="") as table:
        _, *rows = csv.reader(table)
    entries = read_index(weights / "official_2stems_model.index")
    found = [
        [
            entry.name,
            str(entry.dtype),
            "x".join(map(str, entry.shape)),
            str(entry.shard),
            str(entry.offset),
            str(entry.size),
            f"{entry.masked_crc32c:08x}",
        ]
        for entry in entries
    ]
    assert found == rows
    assert sum(entry.size for entry in entries) == 78_614_080


def test_random_weights_have_the_published_names_and_shapes(shared: Path) -> None:
    index = shared / "data" / "weights" / "official_2stems_model.index"
    if not index.is_file():
        pytest.skip(f"needs ../shared/data: {index}")
    with tempfile.TemporaryDirectory() as folder:  # 78 MB that pytest shouldn't keep
        made = read_index(write_random_checkpoint(Path(folder), 2) / "model.index")
    assert [(entry.name, entry.dtype, entry.shape, entry.offset) for entry in made] == [
        (entry.name, entry.dtype, entry.shape, entry.offset) for entry in read_index(index)
    ]


def test_tensors_come_back_as_they_were_saved(folder: Path) -> None:
    tensors = read_checkpoint(folder)
    assert set(tensors) == set(TENSORS)
    for name, saved in TENSORS.items():
        assert tensors[name].dtype == saved.dtype
        np.testing.assert_array_equal(tensors[name], saved)


def test_a_damaged_tensor_is_named(folder: Path) -> None:
    (entry,) = (entry for entry in read_index(folder / "model.index") if entry.name == "conv2d/bias")
    content = bytearray((folder / DATA).read_bytes())
    content[entry.offset + 100] ^= 1
    (folder / DATA).write_bytes(content)
    with pytest.raises(WeightsCorrupt, match="conv2d/bias"):
        read_checkpoint(folder)


def test_a_cut_data_file_names_the_first_tensor_that_is_not_whole(folder: Path) -> None:
    (entry,) = (entry for entry in read_index(folder / "model.index") if entry.name == "conv2d/bias")
    content = (folder / DATA).read_bytes()
    (folder / DATA).write_bytes(content[: entry.offset + entry.size - 1])
    with pytest.raises(WeightsCorrupt, match="cut.*conv2d/bias"):
        read_checkpoint(folder)


def test_another_model_s_data_file_is_refused(folder: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "other", {name: tensor + 1 for name, tensor in TENSORS.items()})
    (folder / DATA).write_bytes((tmp_path / "other" / DATA).read_bytes())
    with pytest.raises(WeightsCorrupt, match="batch_normalization_0/beta"):
        read_checkpoint(folder)


@pytest.mark.parametrize("pair", [("batch_normalization_3/beta", "batch_normalization_71/beta")])
def test_two_tensors_of_one_shape_that_changed_places_are_named(folder: Path, pair: tuple[str, str]) -> None:
    first, second = (entry for entry in read_index(folder / "model.index") if entry.name in pair)
    assert first.shape == second.shape
    content = bytearray((folder / DATA).read_bytes())
    one, other = slice(first.offset, first.offset + first.size), slice(second.offset, second.offset + second.size)
    content[one], content[other] = content[other], content[one]
    (folder / DATA).write_bytes(content)
    with pytest.raises(WeightsCorrupt, match=re.escape(f"{first.name}.")):
        read_checkpoint(folder)


def test_every_tensor_is_verified(folder: Path) -> None:
    content = (folder / DATA).read_bytes()
    for entry in read_index(folder / "model.index"):
        damaged = bytearray(content)
        damaged[entry.offset + entry.size - 1] ^= 0x80
        (folder / DATA).write_bytes(damaged)
        with pytest.raises(WeightsCorrupt, match=re.escape(f"{entry.name}.")):
            read_checkpoint(folder)


def test_an_index_of_another_model_names_what_its_data_file_lacks(folder: Path, tmp_path: Path) -> None:
    more = TENSORS | {"conv2d_7/kernel": np.ones(9, "<f4")}
    write_checkpoint(tmp_path / "larger", more)
    (folder / "model.index").write_bytes((tmp_path / "larger" / "model.index").read_bytes())
    with pytest.raises(WeightsCorrupt, match="conv2d_7/kernel|global_step"):
        read_checkpoint(folder)


def test_an_empty_index_is_no_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {})
    with pytest.raises(WeightsCorrupt, match="lists no tensor"):
        read_checkpoint(tmp_path)


def test_a_missing_data_file_is_named_with_a_tensor(folder: Path) -> None:
    (folder / DATA).unlink()
    with pytest.raises(WeightsCorrupt, match="missing.*batch_normalization_0/beta"):
        read_checkpoint(folder)


def test_no_index_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(WeightsCorrupt, match=r"model\.index"):
        read_checkpoint(tmp_path)


def test_an_index_cut_anywhere_is_refused(folder: Path) -> None:
    index = folder / "model.index"
    content = index.read_bytes()
    for length in [0, 1, 47, 48, *range(49, len(content), 97), len(content) - 1]:
        index.write_bytes(content[:length])
        with pytest.raises(WeightsCorrupt):
            read_index(index)


def test_an_index_without_one_of_its_blocks_is_refused(folder: Path) -> None:
    """Cut before, within and after each block; and with the block taken out, the footer left in its place."""
    index = folder / "model.index"
    content = index.read_bytes()
    blocks = blocks_of(content)
    assert len(blocks) == 5  # three of tensors, the metaindex and the index
    for begin, end in blocks:
        for broken in (
            content[:begin],
            content[: begin + 1],
            content[:end],
            content[:begin] + content[end:],
            content[:begin] + bytes(end - begin) + content[end:],
        ):
            index.write_bytes(broken)
            with pytest.raises(WeightsCorrupt, match=r"model\.index"):
                read_index(index)


def blocks_of(table: bytes) -> list[tuple[int, int]]:
    """First byte and the one after the trailer of every block, in a table whose blocks fill it. A block ends
    with a type and a CRC of all before it, so that its end is found by trying."""
    blocks, begin = [], 0
    while begin < len(table) - FOOTER_BYTES:
        end = begin + 9  # the smallest block: one restart point, their count
        while masked_crc32c(table[begin:end]) != int.from_bytes(table[end : end + 4], "little"):
            end += 1
        blocks.append((begin, end + 4))
        begin = end + 4
    return blocks


def test_an_index_with_one_wrong_byte_is_refused_or_reads_the_same(folder: Path) -> None:
    index = folder / "model.index"
    content, entries = index.read_bytes(), read_index(index)
    refused = 0
    positions = range(0, len(content), 7)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        index.write_bytes(damaged)
        try:
            found = read_index(index)
        except WeightsCorrupt:
            refused += 1
        else:
            # Only the footer's padding goes unread.
            assert found == entries
    assert refused > 0.98 * len(positions)
