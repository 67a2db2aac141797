"""A way to a server on which answers are lost: a small TCP proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class DroppingProxy:
    """Passes bytes on, but closes the connection instead of passing on an answer while `drops` is above zero.

    Attributes:
        port: where clients reach it.
        to: the port of the server behind it; another one from the next connection on.
        drops: how many answers are still to be lost.
        silent: whether their connections stay open, as behind a firewall that has forgotten them.
    """

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.to = port
        self.port = self._server.getsockname()[1]
        self.drops = 0
        self.silent = False
        self._threads: list[threading.Thread] = []
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for client in self._clients:
            # Nobody may have closed it: a ledger keeps its connections.
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _run(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            self._clients.append(client)
            self._run(lambda client=client: self._serve(client))

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            client.close()
            return
        self._run(lambda: self._pass_back(server, client))
        # Either end may be gone by now.
        with suppress(OSError):
            while request := client.recv(65536):
                server.sendall(request)
        with suppress(OSError):
            # The other thread waits for an answer: this wakes it, and it closes both.
            server.shutdown(socket.SHUT_RDWR)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with server, client, suppress(OSError):
            while answer := server.recv(65536):
                if self.drops:
                    self.drops -= 1
                    if not self.silent:
                        client.shutdown(socket.SHUT_RDWR)
                else:
                    client.sendall(answer)
