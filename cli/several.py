"""Several API processes on one port, each with a listening socket of its own (SO_REUSEPORT).

Of one socket that all share, whoever wakes first accepts all that wait: it may get every connection of a proxy that
keeps them, and half the machine stands idle. The kernel deals them out by sockets.
"""

from __future__ import annotations

import socket
import sys

from uvicorn import Config
from uvicorn.supervisors import Multiprocess


class SeveralProcesses(Multiprocess):
    def __init__(self, config: Config) -> None:
        with _bound(config):  # refused where another service has the port: the option would share it silently
            pass
        self._given: list[socket.socket] = []
        super().__init__(config, [])

    @property
    def sockets(self) -> list[socket.socket]:
        """For the process that is started next."""
        self._let_go()
        self._given = [_bound(self.config, shared=True)]
        return self._given

    @sockets.setter
    def sockets(self, _: list[socket.socket]) -> None:
        """The superclass has one for all."""

    def keep_subprocess_alive(self) -> None:
        self._let_go()
        super().keep_subprocess_alive()

    def _let_go(self) -> None:
        """Of those that processes have by now: a socket has to end with its process, or connections go on to it."""
        for each in self._given:
            each.close()
        self._given = []


def _bound(config: Config, *, shared: bool = False) -> socket.socket:
    """Does not listen yet. Ends this process where the address can't be had."""
    made = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.set_inheritable(True)
    try:
        made.bind((config.host, config.port))
    except OSError as error:
        made.close()
        sys.exit(f"{config.host}:{config.port} can't be listened on: {error.strerror}.")
    return made
