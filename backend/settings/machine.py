"""Settings of the machines: database, queue, engine, workers, server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[2]
MOST_TURNS = 16


class Database(BaseModel):
    url: str = Field("", description="SQLAlchemy URL; empty means SQLite below the data folder.")
    pool_size: int = Field(10, ge=1, description="Connections kept open by each process.")
    busy_timeout_seconds: float = Field(15, gt=0, description="SQLite: how long a writer waits for its turn.")


class Queue(BaseModel):
    url: str = Field("", description="Celery broker URL (redis://, amqp://); empty means files below the data folder.")
    name: str = Field(
        "vocal_remover",
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="Name of the queue: installations that share a broker need one each.",
    )
    polling_seconds: float = Field(0.2, gt=0, description="Broker without a server: how often its folder is read.")
    plans: dict[
        Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")],
        Annotated[int, Field(ge=1, le=MOST_TURNS)],
    ] = Field(
        {"standard": 1, "priority": 3},
        description="How many tasks of a tenant are taken in each round through the tenants that wait, by its plan; "
        "a plan that is not named here has one.",
    )


class Engine(BaseModel):
    threads: int = Field(0, ge=0, description="Threads of the network; 0 means every core.")
    runtime: Literal["auto", "openvino", "onnxruntime", "onnxruntime_cuda", "spleeter_tf", "kserve"] = Field(
        "auto",
        description="What runs the network: auto (the fastest here), openvino, onnxruntime, onnxruntime_cuda, "
        "spleeter_tf (Spleeter itself), or kserve (a server elsewhere).",
    )
    precision: Literal["auto", "f32", "bf16", "f16", "int8"] = Field(
        "auto", description="Numbers inside the network; auto: what the device is made for. Said in each receipt."
    )
    kserve_url: str = Field(
        "", description="For kserve: base URL of a server that speaks the Open Inference Protocol over HTTP."
    )
    default_model: str = Field(
        "auto", description="Model of a task that names none; auto: spleeter:2stems when ready, else lite."
    )
    weights_mirror: str = Field("", description="Base URL that stands in for the published releases.")
    weights_local: Path | None = Field(None, description="Folder with archives or unpacked weights.")
    spleeter_python: Path | None = Field(
        None, description="For spleeter_tf: the Python of the environment that scripts/setup-spleeter makes."
    )
    warmup_song: Path = Field(
        ROOT / "data" / "sample" / "warmup.mp3", description="Separated once before the first task is taken."
    )


class Worker(BaseModel):
    name: str = Field("worker", description="Stable name of a worker, shown by /health.")
    pool: Literal["threads", "prefork", "solo"] = Field("threads", description="Celery pool.")
    concurrency: int = Field(
        2, ge=1, description="Tasks at once in one worker; with the pool `threads` they share one loaded model."
    )
    lease_seconds: float = Field(30, gt=1, description="A task not renewed for so long goes to another worker.")
    renew_seconds: float = Field(1, gt=0, description="How often progress and lease are written.")
    heartbeat_seconds: float = Field(5, gt=0, description="How often a worker says that it lives.")
    sweep_seconds: float = Field(2, gt=0, description="How often lost wake-ups and expired leases are looked for.")
    max_attempts: int = Field(3, ge=1, description="Attempts before a task fails for good.")
    grace_seconds: float = Field(20, ge=0, description="When told to stop: how long a task may still run.")
    expected: int = Field(1, ge=0, description="Workers that /health expects to see.")
    shared_seconds: float = Field(
        600, ge=0, description="Longer songs are separated in parts, by as many workers as are idle; 0 means never."
    )
    part_seconds: float = Field(60, gt=0, description="How long a part of such a song is, rounded to whole patches.")

    @property
    def slots(self) -> int:
        """Tasks at once in all of them."""
        return max(1, self.expected) * self.concurrency


class Server(BaseModel):
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the API listens on.")
    processes: int = Field(
        1, ge=1, le=64, description="API processes on that port; several need a VR_LIMIT__STORAGE that they share."
    )
