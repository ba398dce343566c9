"""A server that hands requests on to another one, and now and then does so badly."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("500 before", "500 after", "slow", "cut")


class FaultyProxy:
    """A proxy on loopback.

    Parameters
    ----------
    port : int
        Where the real server listens.
    choose : callable
        Says which of `FAULTS` each request meets, or None; it gets method and path.
    seconds : float
        How long a slow answer takes.
    """

    def __init__(self, port: int, choose: Callable[[str, str], str | None], seconds: float) -> None:
        self.counts: dict[str, int] = {}
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = choose(self.command, self.path)
                proxy.counts[fault or "none"] = proxy.counts.get(fault or "none", 0) + 1
                if fault == "slow":
                    time.sleep(seconds)
                if fault != "500 before":  # after, it was done all the same
                    status, headers, content = self.forward(body)
                if fault in ("500 before", "500 after"):
                    status, headers = 500, {}
                    content = b"<Error><Code>InternalError</Code></Error>"
                self.send(status, headers, content, cut=fault == "cut")

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                server = http.client.HTTPConnection("127.0.0.1", port)
                try:
                    server.request(self.command, self.path, body, dict(self.headers))
                    response = server.getresponse()
                    return response.status, dict(response.getheaders()), response.read()
                finally:
                    server.close()

            def send(
                self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False
            ) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                given = {name.lower(): value for name, value in headers.items()}
                length = given.get("content-length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                self.close_connection = self.close_connection or cut
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    """The client has gone, because it wouldn't wait any longer."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["FaultyProxy"]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
