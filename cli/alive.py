"""Whether one process of the service is alive: `python -m cli.alive api`, `… worker`; the containers ask.

Not a command of `vocal-remover`: asked again and again, it should load little.
"""

from __future__ import annotations

import sys
import urllib.request

from backend.settings import Settings


def api(settings: Settings) -> str | None:
    """None when it answers, else why it is not alive."""
    # Whatever address it listens on, this machine can reach it by its own.
    url = f"http://127.0.0.1:{settings.server.port}/healthz"
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except OSError as error:
        return f"{url}: {error}"
    return None


def worker(settings: Settings) -> str | None:
    """None when this host's worker has sent its heartbeats, else why it is not alive.

    One that could not warm up is: it loads its model at the next task, and a restart would end what it has in hand.
    """
    from backend.db import Database
    from backend.worker import service as workers

    database = Database(settings)
    try:
        with database.read() as session:
            found = workers.health(session, settings.worker.heartbeat_seconds)
    finally:
        database.dispose()
    name = workers.worker_name(settings)
    for seen in found:
        if seen.name == name:
            return "no heartbeat" if seen.silent else None
    return f"{name} has not reported"


def main() -> int:
    process = {"api": api, "worker": worker}.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if process is None:
        print("usage: python -m cli.alive api|worker", file=sys.stderr)
        return 2
    reason = process(Settings())
    print(reason or "alive")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
