from __future__ import annotations

import pytest

from training.configuration import CONFIGURATIONS, NetworkConfig
from training.progress import duration
from training.schedule import FLOOR, Budget, keep, rate, strictness


def test_the_rate_rises_then_falls() -> None:
    rates = [rate(step, 1000, 100, 2.0) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[100] == pytest.approx(2.0)
    assert sorted(rates[:100]) == rates[:100]
    assert sorted(rates[100:], reverse=True) == rates[100:]
    assert rates[-1] == pytest.approx(2.0 * FLOOR)


def test_a_budget_of_seconds_becomes_steps() -> None:
    budget, spent = Budget(10**9, seconds=100), 0.0
    for step in range(1, 31):
        spent += 0.5
        budget.spend(step, 0.5, spent)
    assert budget.total == 200
    for step in range(31, 131):  # a machine that slows down
        spent += 0.8
        budget.spend(step, 0.8, spent)
    assert budget.total < 150
    assert budget.over(140, 100.0)
    assert not budget.over(140, 99.0)
    assert budget.left(140, 90.0) == 10


def test_a_budget_of_steps_stays() -> None:
    budget = Budget(50)
    budget.spend(10, 2.0, 20.0)
    assert (budget.total, budget.left(10, 20.0)) == (50, 80)
    assert budget.over(50, 0)


def test_the_mean_follows_quickly_at_first() -> None:
    assert keep(0) < 0.1
    assert keep(100_000) == 0.999


def test_silence_is_asked_for_late() -> None:
    asked = [strictness(step, 300) for step in range(301)]
    assert asked[:101] == [0.0] * 101
    assert asked[150] == pytest.approx(0.5)
    assert asked[200:] == [1.0] * 101


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_survive_a_checkpoint(name: str) -> None:
    config = CONFIGURATIONS[name]
    assert NetworkConfig.from_dict(config.as_dict()) == config
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in config.as_dict().items()}
    assert NetworkConfig.from_dict(said) == config


def test_an_impossible_network_is_refused() -> None:
    with pytest.raises(ValueError, match="width"):
        NetworkConfig(widths=(8, 8))
    with pytest.raises(ValueError, match="multiple"):
        NetworkConfig(fold=(16, 8))


@pytest.mark.parametrize(("seconds", "text"), [(4, "4 s"), (89, "89 s"), (1800, "30 min"), (12_000, "3 h 20 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
