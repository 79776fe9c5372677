"""Streams of events in a process of their own, so that their descriptors are nobody else's.

    event_streams.py HOST PORT IDLE_TASK IDLE_COUNT SLOW_TASK SLOW_COUNT

Opens that many streams of each task. The idle ones read whatever comes; the slow ones read one byte every
quarter of a second, through a small receive buffer. Prints `ready` when all are open. When the standard input
has ended, it waits up to a minute for the idle streams to end, and prints how many of both are open still.
"""

import resource
import select
import socket
import sys
import time

SMALL = 4096
PAUSE = 0.25
PATIENCE = 60.0


def open_stream(address, task, small):
    stream = socket.socket()
    if small:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    stream.settimeout(120)
    stream.connect(address)
    stream.sendall(f"GET /tasks/{task}/events HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n\r\n".encode())
    return stream


def read_status(stream):
    """The status line; the rest of the answer stays for later."""
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.recv(1)
        if not byte:
            raise SystemExit("a stream was closed before its answer")
        line += byte
    if b" 200 " not in line:
        raise SystemExit(f"a stream was answered {line!r}")
    stream.setblocking(False)


def take(stream, count):
    """False when the stream has ended."""
    try:
        return stream.recv(count) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main():
    host, port, idle_task, idle_count, slow_task, slow_count = sys.argv[1:]
    address = (host, int(port))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    idle = [open_stream(address, idle_task, False) for _ in range(int(idle_count))]
    slow = [open_stream(address, slow_task, True) for _ in range(int(slow_count))]
    for stream in idle + slow:
        read_status(stream)
    print("ready", flush=True)
    poll = select.poll()
    by_number = {stream.fileno(): stream for stream in idle}
    for number in by_number:
        poll.register(number, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    next_byte = time.monotonic()
    end = None
    while end is None or (by_number and time.monotonic() < end):
        for number, _ in poll.poll(PAUSE * 1000):
            if number == sys.stdin.fileno():
                poll.unregister(sys.stdin)
                end = time.monotonic() + PATIENCE
                continue
            if not take(by_number[number], 1 << 16):
                poll.unregister(number)
                by_number.pop(number).close()
        if time.monotonic() >= next_byte:
            next_byte = time.monotonic() + PAUSE
            slow = [stream for stream in slow if take(stream, 1)]
    print(len(by_number), len(slow), flush=True)


if __name__ == "__main__":
    main()
