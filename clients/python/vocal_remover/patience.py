from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try. The defaults suit a service that is restarted or a network that is poor."""

    attempts: int = 8
    """Of one request, and of a download that gets no further."""
    first_wait: float = 0.5
    """Seconds before the second attempt; doubled for each one after, with jitter, where the service asks for none."""
    longest_wait: float = 120.0
    """Seconds. A service that asks for a longer pause is not waited for: `Busy` is raised."""
    silence: float = 45.0
    """Seconds after which a stream of events that sends nothing, not even a sign of life, is given up."""
    poll: float = 10.0
    """Seconds between two looks at a task when there is no stream of events."""

    def wait(self, failures: int, asked: float | None = None) -> float | None:
        """Seconds until the next attempt after so many failures; None: give up."""
        if failures >= self.attempts:
            return None
        if asked is not None:
            # Never before the time; and not all who were told the same at the same moment.
            return asked + random.uniform(0, 0.1 * asked + 0.1) if asked <= self.longest_wait else None
        return self._backoff(failures, self.longest_wait)

    def look_again(self, deaf: int) -> float:
        """Seconds until the next look at a task whose events were not heard so many times in a row."""
        return self._backoff(max(1, deaf), self.poll)

    def _backoff(self, failures: int, most: float) -> float:
        # The exponent is bounded: 2 to the thousandth is no float.
        return min(most, self.first_wait * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1)
