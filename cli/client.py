"""The service as its user sees it, over HTTP: what the demo does, in the order in which one would with curl."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

API = "/api/v1"
PATIENCE_SECONDS = 600


class Refused(Exception):
    """An error answer, as a sentence with its advice."""


class Client:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(30, read=PATIENCE_SECONDS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def login(self, email: str, password: str) -> None:
        token = self._json("POST", "/login", json={"email": email, "password": password})["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def balance(self) -> dict[str, Any]:
        return self._json("GET", "/credits")

    def upload(self, song: Path) -> dict[str, Any]:
        with song.open("rb") as opened:
            return self._json("POST", "/uploads", files={"file": (song.name, opened)})

    def separate(self, upload_id: str) -> dict[str, Any]:
        return self._json("POST", "/separate", json={"upload_id": upload_id})

    def task(self, task_id: str) -> dict[str, Any]:
        return self._json("GET", f"/tasks/{task_id}")

    def events(self, task_id: str) -> Iterator[dict[str, Any]]:
        """The data of each server-sent event until the task is finished."""
        with self._http.stream("GET", f"{API}/tasks/{task_id}/events") as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def download(self, link: str, target: Path) -> None:
        """A signed link of an answer; it needs no token."""
        with (
            httpx.stream("GET", self._http.base_url.join(link), timeout=self._http.timeout) as answer,
            target.open("wb") as file,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = self._http.request(method, f"{API}{path}", **request)
        while answer.status_code in (429, 503) and "files" not in request:
            time.sleep(int(answer.headers["Retry-After"]))
            answer = self._http.request(method, f"{API}{path}", **request)
        body: dict[str, Any] = answer.json()
        if answer.is_error:
            raise Refused(f"{body['detail']} {body['advice']}")
        return body
