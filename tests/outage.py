"""A network between a client and a server on this machine, that a test may cut and mend."""

import contextlib
import socket
import threading


class Outage:
    """Forwards connections to `target` while it is whole; when cut, they are refused, and those there are end.

    The server keeps what it has, as it would not if it were started anew: moto's S3 has everything in memory.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))  # with SO_REUSEADDR
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listener, self._open), daemon=True).start()

    def cut(self) -> None:
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket, opened: list[socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                opened += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_forward, args=pair, daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
