"""Graphs on a server of the Open Inference Protocol v2 (Triton, KServe, MLServer), over HTTP.

The model's name on the server is the graph's file name without its suffix. Graphs built from weights carry the
weights' hash in it, so a receipt is right about what ran. Source: open-inference-protocol, `rest.md` and
`extension_binary_data.md` of the KServe and Triton projects.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import InferenceServerUnavailable, InferenceServerWrong, RuntimeUnavailable
from engine.runtimes import inference_protocol as protocol
from engine.runtimes.base import Precision, RuntimeInfo, Tensor

if TYPE_CHECKING:
    import httpx

BUSY = frozenset({429, 502, 503, 504})
ATTEMPTS = 4
FIRST_PAUSE = 0.2
"""Seconds before the second attempt; each later pause is twice as long."""
LONGEST_PAUSE = 5.0
"""However long the server asks to wait."""
TIMEOUT = 60.0
"""Seconds for one answer. A patch takes less than one on any CPU; the rest is the server's queue."""


class KserveSession:
    """One model on the server. Runs of several threads go out side by side; the server batches them."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._path = f"v2/models/{name}"
        server.send("GET", f"{self._path}/ready")
        self._outputs = protocol.names(server.json(self._path), "outputs")
        described = server.json("v2")
        self._binary = protocol.BINARY in (described.get("extensions") or ())
        what = f"{described.get('name', 'server')} {described.get('version', '')}".strip()
        # Threads and precision are the server's own business, and it doesn't tell.
        self._info = RuntimeInfo("kserve", "v2", f"{what} at {server.host}", "server", 0)

    @property
    def info(self) -> RuntimeInfo:
        return self._info

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Raises InferenceServerUnavailable, which is worth another attempt, and InferenceServerWrong."""
        body, headers = protocol.request(inputs, self._outputs, binary=self._binary)
        answer = self._server.send("POST", f"{self._path}/infer", body, headers)
        tensors = protocol.response(answer.content, answer.headers.get(protocol.HEADER_LENGTH))
        missing = [name for name in self._outputs if name not in tensors]
        if missing:
            raise InferenceServerWrong(f"The inference server's answer lacks the output {missing[0]}.")
        return [tensors[name] for name in self._outputs]

    def close(self) -> None:
        self._server.close()


class KserveRuntime:
    """`url`: the server's address, such as `http://triton:8000`; None where there is no server."""

    name = "kserve"

    def __init__(self, url: str | None, *, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout

    def available(self) -> bool:
        """Whether an address is known; whether anybody answers there, `load` finds out."""
        return self._url is not None and importlib.util.find_spec("httpx") is not None

    def load(
        self,
        graph: Path,
        *,
        threads: int,
        precision: Precision | Literal["auto"] = "auto",
        shape: Mapping[str, tuple[int, ...]] | None = None,
    ) -> KserveSession:
        """Only the name of `graph` is used: the file itself is on the server. So are threads and shapes.

        Raises RuntimeUnavailable without an address or for a precision, InferenceServerUnavailable when
        nobody answers, InferenceServerWrong when the server lacks the model or answers something else.
        """
        if self._url is None:
            raise RuntimeUnavailable("Nobody said where the inference server is.")
        if precision != "auto":
            raise RuntimeUnavailable(
                f"The inference server alone chooses the precision; {precision} can't be asked for."
            )
        server = Server(self._url, self._timeout)
        try:
            return KserveSession(server, graph.stem)
        except BaseException:
            server.close()
            raise


class Server:
    """A server's HTTP side: attempts, pauses, and errors that say what was wrong."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        import httpx

        try:
            self._client = httpx.Client(base_url=url, timeout=timeout)
        except httpx.InvalidURL as error:
            raise RuntimeUnavailable(f"The inference server's address is not an URL: {error}.") from error
        if self._client.base_url.scheme not in ("http", "https") or not self._client.base_url.host:
            raise RuntimeUnavailable("The inference server's address must begin with http:// or https://.")
        self.host = self._client.base_url.netloc.decode()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A good answer. Inference changes nothing on the server, so every failed attempt may be repeated.

        Raises InferenceServerUnavailable after the last attempt, InferenceServerWrong for a refusal.
        """
        import httpx

        problem, pause = "", FIRST_PAUSE
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(pause, LONGEST_PAUSE))
                pause *= 2
            try:
                answer = self._client.request(method, path, content=body, headers=headers)
            except httpx.TransportError as error:
                problem = f"it does not answer ({type(error).__name__})"
                continue
            if answer.is_success:
                return answer
            problem = f"it answers {answer.status_code}{_reason(answer)}"
            if answer.status_code not in BUSY:
                raise InferenceServerWrong(f"The inference server at {self.host} refuses {path}: {problem}.")
            pause = max(pause, _asked_pause(answer))
        raise InferenceServerUnavailable(f"The inference server at {self.host} can't be used: {problem}.")

    def json(self, path: str) -> Mapping[str, Any]:
        """Raises what `send` raises, and InferenceServerWrong for an answer that is no JSON object."""
        try:
            answer = self.send("GET", path).json()
        except ValueError as error:
            raise InferenceServerWrong(f"What answers at {self.host} is no inference server.") from error
        if not isinstance(answer, dict):
            raise InferenceServerWrong(f"What answers at {self.host} is no inference server.")
        return answer

    def close(self) -> None:
        self._client.close()


def _reason(answer: httpx.Response) -> str:
    """The server's own words, where it has any: `{"error": ...}`."""
    try:
        words = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {' '.join(words.split())[:200]}"


def _asked_pause(answer: httpx.Response) -> float:
    """Retry-After in seconds; its other form, a date, is not worth reading for pauses this short."""
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0
