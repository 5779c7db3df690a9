"""`vocal-remover run`: the embedded service, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from backend.auth.schemas import DEMO
from backend.settings import Settings, UnsafeSettings
from cli.logs import configure
from cli.supervisor import CannotStart, Service

BANNER = """
Vocal Remover is up.   {url}/docs   Ctrl-C stops it.

{login}
    TOKEN=$(curl -s {url}/api/v1/login -H 'Content-Type: application/json' \\
        -d '{{"email":"{email}","password":"{password}"}}' \\
        | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')

Who you are:      curl -s {url}/api/v1/me -H "Authorization: Bearer $TOKEN"
Send a song:      curl -s {url}/api/v1/uploads -H "Authorization: Bearer $TOKEN" -F file=@song.mp3
Order its stems:  curl -s {url}/api/v1/separate -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
                      -d '{{"filename":"song.mp3"}}'      (or the sample: {{"filename":"example.mp3"}})
Follow it:        curl -N {url}/api/v1/tasks/TASK_ID/events -H "Authorization: Bearer $TOKEN"
Where it is:      curl -s {url}/api/v1/status/TASK_ID -H "Authorization: Bearer $TOKEN"
Get a stem:       curl -s {url}/api/v1/tasks/TASK_ID/stems/vocals -H "Authorization: Bearer $TOKEN" -o vocals.wav
All you did:      curl -s {url}/api/v1/history -H "Authorization: Bearer $TOKEN"
"""


def run() -> int:
    """The exit code: 0 after Ctrl-C, 1 when the service can't start."""
    settings = Settings()
    configure(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Service(settings) as service:
            service.wait_until_ready(stop.is_set)
            if not stop.is_set():
                print(_banner(settings, service.url), flush=True)
            while not stop.wait(0.5):
                service.watch()
            print("Stopping …", flush=True)
    except (CannotStart, UnsafeSettings) as error:
        print(error, file=sys.stderr)
        return 1
    print("Stopped.", flush=True)
    return 0


def _banner(settings: Settings, url: str) -> str:
    demo = settings.seeds_demo_user
    login = "Log in (the demo user, with 10 credits):" if demo else "Log in with your account:"
    person = DEMO if demo else {"email": "YOU@EXAMPLE.COM", "password": "YOUR PASSWORD"}
    return BANNER.format(url=url, login=login, **person)
