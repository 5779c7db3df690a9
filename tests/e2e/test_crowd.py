"""A dozen people at once, two of them slow, on the real processes: nobody is lost, all stems arrive and are right."""

from __future__ import annotations

import pytest

from bench.crowd.figures import broken, summary
from bench.crowd.run import Plan, Scenario, run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", ["slow", "greedy"])
def test_a_small_crowd(scenario: Scenario) -> None:
    plan = Plan(users=6, seconds=5, scenario=scenario, slow=2, slow_seconds=5)
    found = summary(run(plan, embedded=True))
    assert broken(found) == []
    assert found["accepted"] == found["completed"] == {"slow": 8, "greedy": 12}[scenario]
    if scenario == "greedy":
        assert found["passed_by"] <= 2, "as many as the worker does at once"
