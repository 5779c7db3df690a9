"""Models are loaded once, shared, let go in order, and never while somebody uses them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engine.catalog import Catalog, ModelSpec
from engine.errors import UnknownModel, WeightsUnavailable
from engine.models.base import Separator
from engine.registry import Registry, load_separator
from engine.runtimes.choose import choose
from tests.engine.passing import Passing


def loaded(spec: ModelSpec) -> Passing:
    return Passing(spec, {})


@pytest.fixture
def three(catalog: Catalog) -> Catalog:
    lite = catalog["lite"]
    return Catalog({name: replace(lite, id=name) for name in ("a", "b", "c")}, catalog.assets)


def test_loads_once_even_when_asked_by_many_threads(three: Catalog) -> None:
    loads: list[str] = []
    seen: list[Separator] = []
    gate = threading.Barrier(8)

    def load(spec: ModelSpec) -> Separator:
        loads.append(spec.id)
        return loaded(spec)

    registry = Registry(three, load)

    def use() -> None:
        gate.wait()
        with registry.lease("a") as separator:
            seen.append(separator)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["a"]
    assert len(set(map(id, seen))) == 1


def test_lets_go_of_the_least_recently_used(three: Catalog) -> None:
    made: dict[str, Passing] = {}

    def load(spec: ModelSpec) -> Separator:
        made[spec.id] = loaded(spec)
        return made[spec.id]

    registry = Registry(three, load, limit=2)
    for model_id in ("a", "b", "a", "c"):
        with registry.lease(model_id):
            pass
    assert registry.loaded == ["a", "c"]
    assert [made[name].closed for name in "abc"] == [False, True, False]
    registry.close()
    assert registry.loaded == []
    assert all(separator.closed for separator in made.values())


def test_never_closes_what_is_in_use(three: Catalog) -> None:
    registry = Registry(three, loaded, limit=1)
    with registry.lease("a") as first:
        with registry.lease("b"):
            pass
        registry.close()
        assert isinstance(first, Passing)
        assert not first.closed
        assert registry.loaded == ["a"]


def test_a_failed_load_is_tried_again(three: Catalog) -> None:
    outcomes = iter([WeightsUnavailable("not yet"), None])

    def load(spec: ModelSpec) -> Separator:
        failure = next(outcomes)
        if failure is not None:
            raise failure
        return loaded(spec)

    registry = Registry(three, load)
    with pytest.raises(WeightsUnavailable), registry.lease("a"):
        pass
    assert registry.loaded == []
    with registry.lease("a") as separator:
        assert separator.spec.id == "a"


def test_unknown_models(catalog: Catalog) -> None:
    registry = Registry(catalog, loaded)
    with pytest.raises(UnknownModel, match="lite"), registry.lease("heavy"):
        pass
    with pytest.raises(UnknownModel):
        load_separator(replace(catalog["lite"], family="fake"), catalog, threads=1)
    with pytest.raises(WeightsUnavailable):
        load_separator(replace(catalog["lite"], family="spleeter"), catalog, threads=1, weights_path=None)


def test_a_real_model_through_the_registry(catalog: Catalog, tmp_path: Path) -> None:
    registry = Registry(catalog, lambda spec: load_separator(spec, catalog, threads=1))
    with registry.lease("lite") as separator:
        assert separator.runtime.name == choose().name
        assert separator.weights_sha256 == catalog["lite"].graph_sha256
    registry.close()
