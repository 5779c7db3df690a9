"""Recursive filters (IIR) computed by matrix products, a run of samples at a time.

Sample by sample such a filter waits for its own last result, and a processor is idle for most of that time. But it is
linear: of RUN samples, the output is one matrix times these samples, plus another times the state that the filter had
before them; and the states before all runs follow from each other by the same idea, a group of runs at a time.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Waves = NDArray[np.float32]
"""(channels, frames)."""

Real = TypeVar("Real", np.float32, np.float64)

RUN = 16
"""Samples whose output one product gives: more take more operations, fewer leave more states to be found."""
GROUP = 8
"""States that one product finds."""
LEVELS = 4
"""Groups of groups of groups; above them step by step."""
PRODUCT = 200_000
"""Multiplications at once. BLAS shares larger products among threads of its own, which then wait in a loop for more."""


class FilterMatrices:
    """What a filter's second-order sections (sections, 6), as scipy.signal has them, mean for runs of samples."""

    def __init__(self, sections: Matrix) -> None:
        step = _step(sections)
        self.order = order = len(step) - 1
        ones, nothing = np.eye(RUN), np.zeros(order)
        self.feed = np.array([_run(step, nothing, sample) for sample in ones], np.float32)
        """A run's samples → its output, and behind it what they leave in the state."""
        self.response = np.array([_run(step, state, np.zeros(RUN))[:RUN] for state in np.eye(order)], np.float32)
        """The state before a run → what is still heard of it."""
        self.powers = [np.linalg.matrix_power(step[:order, :order], samples) for samples in range(RUN + 1)]
        """What some samples of silence make of a state."""
        self.scans = [_Scan(self.powers[RUN])]
        for _ in range(LEVELS - 1):
            self.scans.append(_Scan(self.scans[-1].whole))


class RecursiveFilter:
    """`channels` signals through one filter; keeps its state from block to block.

    In float32, but for the states, which are carried on in float64: the error of loudness's filter is 97 dB below its
    output, which is twice as fast as with float64 all through.
    """

    def __init__(self, matrices: FilterMatrices, channels: int) -> None:
        self._matrices = matrices
        self._state = np.zeros((channels, matrices.order))

    def filter(self, waves: Waves) -> Waves:
        """The next samples, of any number; returns them filtered."""
        channels, frames = waves.shape
        matrices = self._matrices
        whole = frames - frames % RUN
        output = np.empty((channels, frames), np.float32)
        if whole:
            runs = np.ascontiguousarray(waves[:, :whole]).reshape(-1, RUN)
            fed = _product(runs, matrices.feed).reshape(channels, -1, RUN + matrices.order)
            before, self._state = self._states(fed[:, :, RUN:].astype(np.float64), self._state, 0)
            ringing = _product(before.astype(np.float32).reshape(len(runs), -1), matrices.response)
            np.add(
                fed[:, :, :RUN], ringing.reshape(channels, -1, RUN), out=output[:, :whole].reshape(channels, -1, RUN)
            )
        if rest := frames - whole:
            last = waves[:, whole:]
            output[:, whole:] = last @ matrices.feed[:rest, :rest] + self._state @ matrices.response[:, :rest]
            self._state = self._state @ matrices.powers[rest] + last @ matrices.feed[RUN - rest :, RUN:]
        return output

    def _states(self, fed: Matrix, first: Matrix, level: int) -> tuple[Matrix, Matrix]:
        """The state before each step, and after the last one: s' = s · A + fed. (channels, steps, order) each."""
        channels, steps, order = fed.shape
        scan = self._matrices.scans[level]
        before = np.empty((channels, steps, order))
        whole = steps - steps % GROUP
        if steps > 2 * GROUP and level < LEVELS - 1:
            groups = np.ascontiguousarray(fed[:, :whole]).reshape(-1, GROUP * order)
            found = _product(groups, scan.within).reshape(channels, -1, (GROUP + 1) * order)
            starts, first = self._states(found[:, :, GROUP * order :], first, level + 1)
            passed = _product(starts.reshape(len(groups), order), scan.passed).reshape(channels, -1, GROUP * order)
            np.add(found[:, :, : GROUP * order], passed, out=before[:, :whole].reshape(channels, -1, GROUP * order))
        else:
            whole = 0
        for index in range(whole, steps):
            before[:, index] = first
            first = first @ scan.one + fed[:, index]
        return before, first


class _Scan:
    """What finds the states of GROUP steps, each of which takes a state s to s · one + what is fed."""

    def __init__(self, one: Matrix) -> None:
        order = len(one)
        powers = [np.eye(order)]
        for _ in range(GROUP):
            powers.append(powers[-1] @ one)
        self.one, self.whole = one, powers[GROUP]
        within = np.zeros((GROUP, order, GROUP + 1, order))
        for fed in range(GROUP):
            for later in range(fed + 1, GROUP + 1):
                within[fed, :, later] = powers[later - 1 - fed]
        self.within = within.reshape(GROUP * order, (GROUP + 1) * order)
        """What is fed in each step → the states before each, and after the last one."""
        self.passed = np.concatenate(powers[:GROUP], axis=1)
        """The state before the group → what it adds to the state before each step."""


def _step(sections: Matrix) -> Matrix:
    """One sample's way through all sections: (state, input) @ step = (next state, output). The sections are in the
    transposed direct form II: y = b0·x + s1, s1' = b1·x - a1·y + s2, s2' = b2·x - a2·y."""
    order = 2 * len(sections)
    step = np.zeros((order + 1, order + 1))
    signal = np.eye(order + 1)[order]  # as a combination of the states and of the input
    for index, (b0, b1, b2, _, a1, a2) in enumerate(sections):
        first, second = np.eye(order + 1)[2 * index : 2 * index + 2]
        output = b0 * signal + first
        step[:, 2 * index] = b1 * signal - a1 * output + second
        step[:, 2 * index + 1] = b2 * signal - a2 * output
        signal = output
    step[:, order] = signal
    return step


def _run(step: Matrix, state: Matrix, samples: Matrix) -> Matrix:
    """Sample by sample: the outputs, and behind them the state afterwards."""
    order, outputs = len(state), []
    for sample in samples:
        found = np.append(state, sample) @ step
        state = found[:order]
        outputs.append(found[order])
    return np.append(outputs, state)


def _product(rows: NDArray[Real], matrix: NDArray[Real]) -> NDArray[Real]:
    result = np.empty((len(rows), matrix.shape[1]), rows.dtype)
    count = max(1, PRODUCT // matrix.size)
    for start in range(0, len(rows), count):
        np.matmul(rows[start : start + count], matrix, out=result[start : start + count])
    return result
