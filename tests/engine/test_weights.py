"""Weights from an operator's folder, and archives that are not what they should be."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.catalog import Archive, ModelSpec, load_catalog
from engine.checkpoint import weights_sha256
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.unpack import MAX_MEMBER_BYTES, MAX_MEMBERS
from engine.weights import WeightsStore
from tests.engine.checkpoints import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9/tiny.tar.gz"
DATA = "model.data-00000-of-00001"


def spec_of(packed: bytes, data_sha256: str | None = None) -> ModelSpec:
    archive = Archive("tiny", NOWHERE, hashlib.sha256(packed).hexdigest(), "tiny", data_sha256=data_sha256)
    return ModelSpec("tiny", "spleeter", "Tiny", ("vocals", "accompaniment"), 44100, 1024, "MIT", "", archive)


def pack(*add: Callable[[tarfile.TarFile], None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for function in add:
            function(tar)
    return out.getvalue()


def member(name: str, content: bytes = b"x", **attributes: object) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        tar.addfile(info, io.BytesIO(content))

    return add


def local_archive(folder: Path, packed: bytes) -> Path:
    folder.mkdir()
    (folder / "tiny.tar.gz").write_bytes(packed)
    return folder


def weights_folder(folder: Path, value: float = 1.0) -> Path:
    write_checkpoint(folder, {"conv2d/kernel": np.full(1000, value, "<f4")})
    return folder


def test_the_catalogue_has_spleeters_models_with_their_archives() -> None:
    catalog = load_catalog(ROOT / "assets" / "models.toml")
    spleeter = {model: spec for model, spec in catalog.items() if spec.family == "spleeter"}
    assert {(model, len(spec.stems), spec.bins) for model, spec in spleeter.items()} == {
        (f"spleeter:{count}stems{suffix}", count, bins)
        for count in (2, 4, 5)
        for suffix, bins in (("", 1024), ("-16kHz", 1536))
    }
    for model, spec in spleeter.items():
        assert spec.archive is not None
        assert model.startswith(f"spleeter:{spec.archive.directory}")
        assert spec.archive.url.endswith(f"/v1.4.0/{spec.archive.directory}.tar.gz")
        assert len(bytes.fromhex(spec.archive.sha256)) == 32


@pytest.mark.parametrize("prefix", ["", "./", "tiny/"])
def test_a_local_archive_is_verified_and_unpacked(tmp_path: Path, prefix: str) -> None:
    made = weights_folder(tmp_path / "made")
    packed = pack(
        *(member(prefix + path.name, path.read_bytes()) for path in sorted(made.iterdir())),
    )
    weights = WeightsStore(tmp_path / "cache", local=local_archive(tmp_path / "local", packed))
    folder = weights.pull(spec_of(packed))
    assert folder == tmp_path / "cache" / "tiny"
    assert (folder / DATA).read_bytes() == (made / DATA).read_bytes()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["tiny", "tiny.lock"]
    # Without the operator's folder the cache serves on.
    assert WeightsStore(tmp_path / "cache").find(spec_of(packed)) == folder


def test_another_local_archive_is_refused(tmp_path: Path) -> None:
    weights = WeightsStore(tmp_path / "cache", local=local_archive(tmp_path / "local", pack(member("a"))))
    with pytest.raises(WeightsCorrupt, match="not the published archive"):
        weights.pull(spec_of(pack(member("b"))))


def test_a_local_folder_is_used_where_it_lies_once_verified(tmp_path: Path) -> None:
    folder = weights_folder(tmp_path / "local" / "tiny")
    weights, spec = WeightsStore(tmp_path / "cache", local=tmp_path / "local"), spec_of(b"")
    assert not weights.ready(spec)
    assert weights.pull(spec) == folder
    assert weights.find(spec) == folder
    assert weights.ready(spec)


def test_a_local_folder_that_changed_is_verified_again(tmp_path: Path) -> None:
    folder = weights_folder(tmp_path / "local" / "tiny")
    weights, spec = WeightsStore(tmp_path / "cache", local=tmp_path / "local"), spec_of(b"")
    weights.pull(spec)
    content = bytearray((folder / DATA).read_bytes())
    content[10] ^= 1
    (folder / DATA).write_bytes(content)
    os.utime(folder / DATA, ns=(1, 1))
    assert not weights.ready(spec)
    with pytest.raises(WeightsCorrupt, match="conv2d/kernel"):
        weights.pull(spec)


def test_a_local_folder_without_the_model_leaves_the_network(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    weights = WeightsStore(tmp_path / "cache", local=tmp_path / "local", attempts=1)
    with pytest.raises(WeightsUnavailable, match="could not be fetched"):
        weights.pull(spec_of(b""))


def test_weights_of_another_release_in_the_cache_are_replaced(tmp_path: Path) -> None:
    made = weights_folder(tmp_path / "made")
    packed = pack(*(member(path.name, path.read_bytes()) for path in made.iterdir()))
    old = weights_folder(tmp_path / "cache" / "tiny", value=2.0)
    (old / "verified.json").write_text(json.dumps({"archive_sha256": "0" * 64}))
    weights = WeightsStore(tmp_path / "cache", local=local_archive(tmp_path / "local", packed))
    assert weights.find(spec_of(packed)) is None
    assert (weights.pull(spec_of(packed)) / DATA).read_bytes() == (made / DATA).read_bytes()


def test_an_unpacked_copy_of_the_published_weights_is_adopted(tmp_path: Path) -> None:
    made = weights_folder(tmp_path / "made")
    (made / "checkpoint").write_text("not needed")
    spec = spec_of(b"", weights_sha256(made))
    weights = WeightsStore(tmp_path / "cache")
    folder = weights.adopt(spec, made)
    assert weights.find(spec) == folder == tmp_path / "cache" / "tiny"
    assert (folder / DATA).read_bytes() == (made / DATA).read_bytes()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["tiny", "tiny.lock"]
    shutil.rmtree(made)
    assert weights.adopt(spec, made) == folder  # nothing to be done


@pytest.mark.parametrize("fault", ["others", "cut", "index of others", "no index", "no data", "no folder"])
def test_what_is_not_the_published_weights_is_not_adopted(tmp_path: Path, fault: str) -> None:
    made = weights_folder(tmp_path / "made")
    spec = spec_of(b"", weights_sha256(made))
    if fault == "others":
        weights_folder(made, value=2.0)
    elif fault == "cut":
        (made / DATA).write_bytes((made / DATA).read_bytes()[:-1])
    elif fault == "index of others":
        other = weights_folder(tmp_path / "other", value=2.0)
        shutil.copy(other / "model.index", made)
    elif fault == "no folder":
        shutil.rmtree(made)
    else:
        (made / ("model.index" if fault == "no index" else DATA)).unlink()
    weights = WeightsStore(tmp_path / "cache")
    with pytest.raises(WeightsCorrupt):
        weights.adopt(spec, made)
    assert not weights.ready(spec)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny.lock"]


def test_unpacked_weights_that_can_not_be_told_from_others_are_not_adopted(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="only its archive"):
        WeightsStore(tmp_path / "cache").adopt(spec_of(b""), weights_folder(tmp_path / "made"))


def test_an_embedded_model_is_ready_and_has_nothing_to_pull(tmp_path: Path) -> None:
    spec = ModelSpec("lite", "lite", "Lite", ("vocals", "accompaniment"), 44100, 1024, "", "", graph="x.onnx")
    weights = WeightsStore(tmp_path / "cache")
    assert weights.ready(spec)
    with pytest.raises(WeightsUnavailable, match="nothing to pull"):
        weights.pull(spec)


def test_a_cache_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsUnavailable, match="cache"):
        WeightsStore(tmp_path / "file" / "cache").pull(spec_of(b""))


def headers_of_a_huge_member(tar: tarfile.TarFile) -> None:
    info = tarfile.TarInfo("model.index")
    info.size = MAX_MEMBER_BYTES + 1
    assert tar.fileobj is not None
    tar.fileobj.write(info.tobuf())


@pytest.mark.parametrize(
    ("packed", "complaint"),
    [
        (pack(member("../evil")), "evil"),
        (pack(member("a/../../evil")), "evil"),
        (pack(member("/tmp/evil")), "evil"),
        (pack(member("..\\evil")), "evil"),
        (pack(member("link", b"", type=tarfile.SYMTYPE, linkname="/etc")), "link"),
        (pack(member("link", b"", type=tarfile.SYMTYPE, linkname="..")), "link"),
        (pack(member("a"), member("link", b"", type=tarfile.LNKTYPE, linkname="a")), "link"),
        (pack(member("pipe", b"", type=tarfile.FIFOTYPE)), "pipe"),
        (pack(member("device", b"", type=tarfile.CHRTYPE)), "device"),
        (pack(*(member(f"m{n}", b"") for n in range(MAX_MEMBERS + 1))), "members"),
        (pack(headers_of_a_huge_member), "too large"),
        (pack(member("model.index", bytes(100_000)))[:60], "unpacked"),
        (b"not a tar at all", "unpacked"),
        (pack(member("readme")), "holds 0 files"),
        (pack(member("a/model.index"), member("b/model.index")), "holds 2 files"),
        (pack(member("model.index", bytes(100))), "magic"),
    ],
    ids=lambda value: "archive" if isinstance(value, bytes) else None,  # the bytes hold the time
)
def test_a_hostile_or_broken_archive_leaves_nothing(tmp_path: Path, packed: bytes, complaint: str) -> None:
    weights = WeightsStore(tmp_path / "cache", local=local_archive(tmp_path / "local", packed))
    with pytest.raises(WeightsCorrupt, match=complaint):
        weights.pull(spec_of(packed))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny.lock"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "local"]
    assert not weights.ready(spec_of(packed))
