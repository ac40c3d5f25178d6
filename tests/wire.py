"""A port of this machine that passes bytes on to a service, late or with the connection cut when asked to."""

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Wire:
    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._service = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_answers = 0
        self.delay_seconds = 0.0
        self.cut_after_bytes: int | None = None
        self.connections = 0
        self.on_request: Callable[[bytes], None] = lambda _: None
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._carry, args=(near,)))
                self._threads[-1].start()

    def _carry(self, near: socket.socket) -> None:
        answered = 0
        with suppress(OSError), near, socket.create_connection(self._service) as far:
            while True:
                ready, _, _ = select.select([near, far], [], [])
                for source in ready:
                    data = source.recv(65536)
                    if source is far:
                        answered += len(data)
                    else:
                        self.on_request(data)
                    if not data or (source is far and self._cuts(answered)):
                        return
                    time.sleep(self.delay_seconds if source is far else 0)
                    (near if source is far else far).sendall(data)

    def _cuts(self, answered: int) -> bool:
        """Whether the answer that has come so far is lost."""
        if self.cut_answers:
            self.cut_answers -= 1
            return True
        if self.cut_after_bytes is not None and answered > self.cut_after_bytes:
            self.cut_after_bytes = None
            return True
        return False
