"""A small server of the Open Inference Protocol in this process, which can also be busy, wrong or silent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


@dataclass
class InferenceServer:
    """`graphs` by model name. What it is asked and how it answers may be changed while it runs."""

    graphs: Mapping[str, Path]
    binary: bool = True
    busy: int = 0
    """So many next requests for inference get 503."""
    retry_after: str = ""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Path → status and body to give instead of the right one."""
    silent: threading.Event = field(default_factory=threading.Event)
    """While it is set, requests for inference get no answer."""
    asked: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """Content types of the requests for inference."""
    url: str = ""


@contextmanager
def inference_server(graphs: Mapping[str, Path], *, binary: bool = True) -> Iterator[InferenceServer]:
    state = InferenceServer(graphs, binary)
    sessions = {
        name: onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]) for name, graph in graphs.items()
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def give(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def say(self, content: object, status: int = 200) -> None:
            self.give(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def do_GET(self) -> None:
            state.asked.append(self.path)
            model, _, rest = self.path.removeprefix("/v2/models/").partition("/")
            if self.path in state.answers:
                self.give(*state.answers[self.path])
            elif self.path == "/v2":
                extensions = ["binary_tensor_data"] if state.binary else []
                self.say({"name": "small", "version": "1.2", "extensions": extensions})
            elif model not in sessions:
                self.say({"error": f"no model {model}"}, 404)
            elif rest == "ready":
                self.give(200, b"")
            else:
                session = sessions[model]
                self.say(
                    {
                        "name": model,
                        "inputs": [described(value) for value in session.get_inputs()],
                        "outputs": [described(value) for value in session.get_outputs()],
                    }
                )

        def do_POST(self) -> None:
            state.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.kinds.append(self.headers["Content-Type"])
            if state.silent.is_set():
                self.close_connection = True
                return
            if state.busy:
                state.busy -= 1
                headers = {"Retry-After": state.retry_after} if state.retry_after else {}
                self.give(503, b'{"error": "the queue is full"}', headers)
                return
            if self.path in state.answers:
                self.give(*state.answers[self.path])
                return
            self.infer(sessions[self.path.split("/")[3]], body)

        def infer(self, session: Any, body: bytes) -> None:
            size = self.headers["Inference-Header-Content-Length"]
            header = json.loads(body[: int(size)] if size else body)
            rest = body[int(size) :] if size else b""
            inputs = {}
            for tensor in header["inputs"]:
                if size:
                    length = tensor["parameters"]["binary_data_size"]
                    values, rest = np.frombuffer(rest[:length], "<f4"), rest[length:]
                else:
                    values = np.array(tensor["data"], "<f4")
                inputs[tensor["name"]] = values.reshape(tensor["shape"])
            assert not rest
            names = [output["name"] for output in header["outputs"]]
            # Servers may order outputs as they like: backwards, here.
            results = dict(reversed(list(zip(names, session.run(names, inputs), strict=True))))
            outputs, raw = [], b""
            for name, values in results.items():
                output = {"name": name, "datatype": "FP32", "shape": values.shape}
                if size:
                    raw += values.astype("<f4").tobytes()
                    output["parameters"] = {"binary_data_size": values.nbytes}
                else:
                    output["data"] = values.ravel().tolist()
                outputs.append(output)
            answer = json.dumps({"outputs": outputs}).encode()
            headers = {"Inference-Header-Content-Length": str(len(answer))} if size else {}
            self.give(200, answer + raw, headers)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def described(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return {"name": value.name, "datatype": "FP32", "shape": shape}
