"""A web server that misbehaves, on the loopback."""

import contextlib
import http.server
import re
import socket
import time


class Server(http.server.ThreadingHTTPServer):
    """Serves one file on the loopback; its attributes say how it misbehaves.

    Attributes:
        content: what it serves.
        claimed: the length that it announces, if not the true one.
        ranges: whether it honours range requests.
        tag: entity tag.
        statuses: answers to the next requests; then 200.
        drops: bytes after which the next connections break off; then none do.
        stalls: bytes after which the next connections fall silent.
        throttle: seconds of pause for every 4 kB.
        asked: first byte of each request.
        paths: path of each request.
    """

    daemon_threads = True
    content, claimed, ranges, tag, throttle = b"", None, True, '"one"', 0.0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.drops, self.stalls, self.asked, self.paths = [], [], [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/sun09.tar"

    def handle_error(self, *_):
        pass  # clients that go away are what is tested


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.paths.append(self.path)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        start, end = int(asked[1]), int(asked[2]) + 1
        server.asked.append(start)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        length = server.claimed or len(server.content)
        if start >= length:
            self.send_error(416)
            return
        end = min(end, length)
        self.send_response(206 if server.ranges else 200)
        if server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{length}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        drop = server.drops.pop(0) if server.drops else None
        stall = server.stalls.pop(0) if server.stalls else None
        with contextlib.suppress(OSError):
            for position in range(start, min(end, len(server.content)), 4096):
                if drop is not None and position - start >= drop:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if stall is not None and position - start >= stall:
                    time.sleep(1.5)
                    return
                self.wfile.write(server.content[position : min(position + 4096, end)])
                if server.throttle:
                    time.sleep(server.throttle)

    def log_message(self, *_):
        pass
