"""A service for messages on this computer, for tests: keeps what it is sent.

Covered: taking messages, refusing them, holding one up. Not covered: what a service makes of them.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MessageServer:
    """Listens on a free port of 127.0.0.1 until `close`."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        """Path and body of each message, oldest first."""
        self.refuses = False
        self.holds_up: Callable[[str], bool] = lambda _path: False
        """Says of a path that its message is taken and never answered."""
        self._open = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, json.loads(body)))
                if outer.holds_up(self.path):
                    outer._open.wait()
                self.send_response(500 if outer.refuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, path: str) -> str:
        """An address of Apprise that leads here."""
        return f"json://127.0.0.1:{self._server.server_address[1]}/{path}"

    def close(self) -> None:
        self._open.set()
        self._server.shutdown()
        self._server.server_close()
