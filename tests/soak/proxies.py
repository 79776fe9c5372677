"""What stands between the agent and its servers: a slow or broken network, and a store that fails."""

import asyncio
import http.client
import http.server
import random
import socket
import struct
import threading
import time

CHUNK = 64 * 1024


class NetworkProxy:
    """A TCP proxy in front of a database. `rate` (bytes a second, for each connection) makes it slow,
    `refusing` closes whatever comes, `cut` resets every open connection."""

    def __init__(self, host, port):
        self.rate = None
        self.refusing = False
        self._target = (host, port)
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def cut(self):
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self):
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                # No farewell: the peer gets a reset.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader, writer):
        if self.refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, server_writer}
        self._writers |= pair
        try:
            await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))
        finally:
            self._writers -= pair
            for one in pair:
                one.transport.abort()

    async def _copy(self, reader, writer):
        try:
            while chunk := await reader.read(CHUNK):
                rate = self.rate
                if rate:
                    await asyncio.sleep(len(chunk) / rate)
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
        except (OSError, asyncio.IncompleteReadError):
            # One side is gone: so is the other.
            writer.transport.abort()

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class StoreProxy:
    """An HTTP proxy in front of an S3 server. While `trouble` is above 0, that share of the requests is
    refused, cut before or after the server has carried it out, or held for a while."""

    HOLD_SECONDS = 4.0

    def __init__(self, port, seed):
        self.trouble = 0.0
        self.faults = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def _handle(self):
                proxy._relay(self, port)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            # What clients do that are killed in the middle is nothing to tell.
            handle_error = lambda *_: None  # noqa: E731

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _treatment(self):
        with self._lock:
            if self._random.random() >= self.trouble:
                return "forward"
            self.faults += 1
            return self._random.choice(["error", "error", "throttle", "cut", "cut_answer", "hold"])

    def _relay(self, handler, port):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        treatment = self._treatment()
        if treatment in ("error", "throttle"):
            status, code = (500, "InternalError") if treatment == "error" else (503, "SlowDown")
            text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self._answer(handler, status, [("Content-Type", "application/xml")], text)
            return
        if treatment == "cut":
            handler.close_connection = True
            return
        if treatment == "hold":
            time.sleep(self.HOLD_SECONDS)
        server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
            server.request(handler.command, handler.path, body or None, headers)
            answer = server.getresponse()
            text = answer.read()
        except OSError:
            handler.close_connection = True
            return
        finally:
            server.close()
        if treatment == "cut_answer":
            handler.close_connection = True
            return
        skipped = ("connection", "transfer-encoding", "content-length")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in skipped]
        length = answer.getheader("Content-Length")
        self._answer(handler, answer.status, headers, text, length)

    @staticmethod
    def _answer(handler, status, headers, body, length=None):
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        if status != 204:
            # HEAD tells the length of what it does not send.
            handler.send_header("Content-Length", length if handler.command == "HEAD" and length else str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
