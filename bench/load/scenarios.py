"""What is asked of the API, how fast it answers, and what it is while others make it busy."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress

from bench.figures import markdown
from bench.load.client import Call, Connection, Timings, at_rate, flat_out, steadily
from bench.load.service import Api

SONG = {"filename": "warmup.mp3"}
STREAMS = 200
FLOOD = 20
NOBODY = {"email": "nobody@example.com", "password": "a wrong pass phrase"}


def table(api: Api, seconds: float, finish: Callable[[list[str]], None]) -> str:
    """`finish` makes completed tasks of queued ones."""
    tasks = [api.post("/separate", SONG)["task_id"] for _ in range(25)]
    finish(tasks)
    reads = {
        "`GET /me`": [api.call("/me")],
        "`GET /status/{id}`": [api.call(f"/status/{tasks[0]}")],
        "`GET /history?limit=20`": [api.call("/history?limit=20")],
    }
    reads["the three in turn"] = [call for calls in reads.values() for call in calls]
    rows = [_row(api, title, calls, seconds) for title, calls in reads.items()]
    rows.append(_row(api, "`POST /separate`", [api.call("/separate", SONG)], seconds, good=202))
    head = ["", "requests/s", "CPU ms each", "p50 ms", "p95 ms", "p99 ms", "at requests/s", "not answered well"]
    return markdown([api.title, *head[1:]], rows)


def busy(api: Api, seconds: float) -> str:
    """Reads at the same modest rate, alone and beside what others do."""
    watched = api.post("/separate", SONG)["task_id"]
    calls = [api.call("/me")]
    rate = flat_out(api.url, calls, seconds / 2) / 4
    alone = at_rate(api.url, calls, rate, seconds)
    streams = asyncio.run(_beside_streams(api, calls, rate, seconds, api.call(f"/tasks/{watched}/events")))
    logins, flooded = asyncio.run(_beside_logins(api, calls, rate, seconds))
    rows = [
        ["alone", *_shown(alone)],
        [f"beside {STREAMS} idle event streams", *_shown(streams)],
        [f"beside {FLOOD} clients that log in ({logins})", *_shown(flooded)],
    ]
    return markdown([f"`GET /me`, {rate:.0f} a second, {api.title}", "p50 ms", "p95 ms", "p99 ms"], rows)


def _row(api: Api, title: str, calls: list[Call], seconds: float, good: int = 200) -> list[str]:
    flat_out(api.url, calls, 1, good)  # statements are compiled, plans made, pools filled
    began = api.cpu_seconds()
    started = time.perf_counter()
    most = flat_out(api.url, calls, seconds, good)
    cpu = (api.cpu_seconds() - began) / (most * (time.perf_counter() - started))
    half = at_rate(api.url, calls, most / 2, seconds, good)
    return [title, f"{most:.0f}", f"{1000 * cpu:.2f}", *_shown(half), f"{half.rate:.0f}", str(half.refused)]


def _shown(found: Timings) -> list[str]:
    return [f"{found.percentile(share):.1f}" for share in (0.5, 0.95, 0.99)]


async def _beside_streams(api: Api, calls: list[Call], rate: float, seconds: float, events: Call) -> Timings:
    host = api.url.removeprefix("http://")
    streams = [await Connection.open(api.url) for _ in range(STREAMS)]
    for stream in streams:
        status = await stream.begin(events.raw(host))
        assert status == 200, status
    found = await steadily(api.url, calls, rate, seconds)
    for stream in streams:
        stream.close()
    return found


async def _beside_logins(api: Api, calls: list[Call], rate: float, seconds: float) -> tuple[str, Timings]:
    """Clients that try again at once, whatever they are told."""
    request = Call("/api/v1/login", "POST", body=json.dumps(NOBODY).encode()).raw(api.url.removeprefix("http://"))
    answers: dict[int, int] = {}

    async def flood() -> None:
        connection = await Connection.open(api.url)
        while True:
            status, _ = await connection.ask(request)
            answers[status] = answers.get(status, 0) + 1
            if status == 503:
                await asyncio.sleep(0.2)

    clients = [asyncio.create_task(flood()) for _ in range(FLOOD)]
    found = await steadily(api.url, calls, rate, seconds)
    for client in clients:
        client.cancel()
    for client in clients:
        with suppress(asyncio.CancelledError):
            await client
    await asyncio.sleep(2)  # those that are being looked at come to their end
    said = ", ".join(f"{count / seconds:.0f}/s {status}" for status, count in sorted(answers.items()))
    return said, found
