"""A RabbitMQ server of a test's own, which it may stop and start again; loudly missing where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from amqp.exceptions import AMQPError
from kombu import Connection

from tests.servers import _unprivileged, free_port, missing

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 120


class RabbitServer:
    """One node in a folder of its own; what it holds outlives `stop` and `start`."""

    def __init__(self) -> None:
        self._program = self._find()
        self._port, self._distribution = free_port(), free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="vr-rabbitmq-"))
        self._owner = _unprivileged()
        if self._owner is not None:
            os.chown(self._folder, self._owner, -1)
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        with (self._folder / "out").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._program)],
                cwd=self._folder,
                env=self._environment,
                user=self._owner,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                with Connection(self.url, connect_timeout=2) as connection:
                    connection.connect()
                return
            except (OSError, AMQPError):
                assert self._process.poll() is None, (self._folder / "out").read_text(errors="replace")[-2000:]
                assert time.monotonic() < give_up, "RabbitMQ does not start"
                time.sleep(0.2)

    def queues(self) -> dict[str, str]:
        """Their types by their names, as the server itself says."""
        line = [str(self._program.with_name("rabbitmqctl")), "--silent", "list_queues", "name", "type"]
        told = subprocess.run(
            line, cwd=self._folder, env=self._environment, user=self._owner, capture_output=True, text=True, check=True
        )
        return dict(row.split("\t") for row in told.stdout.splitlines() if row != "name\ttype")

    def stop(self) -> None:
        """In good order: it ends its Erlang machine, whose parent passes the signal on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    @staticmethod
    def _find() -> Path:
        installed = PROGRAMS / "rabbitmq-server"  # Debian's wrapper on the path would change the user
        on_path = shutil.which("rabbitmq-server")
        if installed.is_file():
            return installed
        return Path(on_path) if on_path else missing("RabbitMQ")
