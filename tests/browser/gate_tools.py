"""What the gate's tests stand on: a server with all that Streamlit serves, and a proxy like a tunnel."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.request import ProxyHandler, build_opener

import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
UP_WITHIN_S: Final = 120.0

PAGE: Final = """
import streamlit as st
from PIL import Image

if __name__ == "__main__":
    st.title("Behind the gate")
    if st.button("Count"):
        st.session_state.count = st.session_state.get("count", 0) + 1
    st.write("Counted", st.session_state.get("count", 0))
    sent = st.file_uploader("Picture")
    if sent is not None:
        st.write(f"Got {len(sent.getvalue())} bytes of {sent.name}")
    st.image(Image.new("RGB", (9, 9)), output_format="PNG", alt="media")
    st.markdown("![elsewhere](https://elsewhere.example/a.png)")
    st.html("<img src='/thumbs/a.svg' alt='thumb'><img src='/app/static/b.svg' alt='static'>")
else:
    from starlette.responses import Response
    from starlette.routing import Route
    from ui.gate import gate_middleware

    SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>"

    async def thumb(request):
        return Response(SVG, media_type="image/svg+xml", headers={"cache-control": "public, max-age=9"})

    app = st.App(__file__, routes=[Route("/thumbs/a.svg", thumb)], middleware=gate_middleware())
"""


@dataclass
class Server:
    """A `streamlit run` of this test's own."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def small_app(folder: Path) -> Path:
    """A small app of all kinds of content, with the gate and the configuration of the real one."""
    (folder / "static").mkdir()
    (folder / "static" / "b.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>"
    )
    shutil.copytree(ROOT / ".streamlit", folder / ".streamlit")
    (folder / "Small.py").write_text(PAGE)
    return folder / "Small.py"


@contextmanager
def served(script: Path, log: Path, environ: Mapping[str, str], *arguments: str) -> Iterator[Server]:
    """Run a script until it listens; end it with the block."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", script.name, "--server.port", str(port), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LORA_", "STREAMLIT_"))}
    path = os.pathsep.join(filter(None, [environ.get("PYTHONPATH"), str(ROOT)]))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=script.parent,
            env={**kept, **environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until_s = time.monotonic() + UP_WITHIN_S
        while not listens(port):
            assert process.poll() is None, f"The server ended:\n{log.read_text()}"
            assert time.monotonic() < until_s, f"No answer in {UP_WITHIN_S} s:\n{log.read_text()}"
            time.sleep(0.05)
        yield Server(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Is the server up, so that it answers and does not merely hold the port?"""
    try:
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/", timeout=60):
            return True
    except OSError as error:
        return getattr(error, "code", None) in {401, 403}  # the gate's own answers


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """A process and all that it started."""
    own = psutil.Process(process.pid)
    return [own, *own.children(recursive=True)]


# --- a tunnel's end ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a proxy passes requests on."""

    host: Literal["kept", "rewritten"]
    scheme: Literal["http", "https"]
    headers: bool = True
    """It adds X-Forwarded-For and X-Forwarded-Proto."""

    def __str__(self) -> str:
        return f"host-{self.host}-{self.scheme}" + ("" if self.headers else "-silent")


class Tunnel:
    """A reverse proxy in a thread of its own: one request or one websocket for each connection."""

    def __init__(self, target: int, way: Way, certificate: Path | None) -> None:
        self._target, self._way = target, way
        self._tls: ssl.SSLContext | None = None
        if way.scheme == "https" and certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        # In its own thread: Playwright keeps a loop running in this one.
        self._server: asyncio.Server = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(60)

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.netloc}"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            back, inner = await asyncio.open_connection("127.0.0.1", self._target)
            inner.write(self._passed_on(head))
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, inner))
                group.create_task(_pump(back, writer))
        except* (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side went away, or the proxy ends; both are closed below
        finally:
            for end in filter(None, (writer, inner)):
                await _shut(end)

    def _passed_on(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        named = [(line.partition(":")[0].lower(), line) for line in lines]
        upgrade = any(name == "upgrade" for name, _ in named)
        out = {"connection"} if not upgrade else set()
        if self._way.host == "rewritten":
            out.add("host")
        kept = [line for name, line in named if name not in out]
        if not upgrade:
            kept.append("Connection: close")
        if self._way.host == "rewritten":
            kept.append(f"Host: 127.0.0.1:{self._target}")
        if self._way.headers:
            kept += ["X-Forwarded-For: 203.0.113.77", f"X-Forwarded-Proto: {self._way.scheme}"]
        return "\r\n".join([first, *kept, "", ""]).encode("latin-1")


async def _shut(end: asyncio.StreamWriter) -> None:
    """Close it before the loop ends: an open socket that is collected later counts against another test."""
    end.close()
    try:
        async with asyncio.timeout(2):
            await end.wait_closed()
    except (OSError, TimeoutError):
        end.transport.abort()
        await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()  # the end of one direction ends both: every answer here closes its connection


def self_signed(folder: Path) -> Path | None:
    """A certificate for 127.0.0.1 with its key in one file; None where openssl is not installed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command: list[Any] = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    command += ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both
