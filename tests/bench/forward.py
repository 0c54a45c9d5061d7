"""Forwarding (ConnectTo=): requests, connections, one long stream, and what idle connections take."""
import contextlib
import re
import socket
import subprocess
import time

from server import (Failed, Options, Places, Quiet, Server, descendants, established, in_turn, listening, load, log,
                    memory, one_cpu, read, wait_for)
from traffic import CAP_MS, STALL_MS, all_up, end

SECONDS = 100    # of measuring: no round begins after so many
TARGET = 9000    # of load serve: HTTP; on the next port one byte, on the one after that a stream without end
REQUEST = b"GET / HTTP/1.1\r\n\r\n"
IDLE = 100       # connections
SETTLED = 1      # seconds after the last of them
CONNECTIONS, AT_ONCE = 3000, 8
MEGABYTES = 192  # of the stream


class Target:
    """The backend that everything is forwarded to."""

    def __enter__(self):
        self.process = subprocess.Popen([Places.build + "/load", "serve", str(TARGET)], stdin=subprocess.DEVNULL)
        if not wait_for(lambda: listening(TARGET, 3) == 3):
            raise SystemExit("load serve does not listen")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@one_cpu()
def forward(candidates):
    """A server that lost somebody in a round has no figure for it."""
    out = {c["name"]: {} for c in candidates}
    with Target():
        idle_connections(candidates, out)
        up = all_up("forward", candidates, lambda c, base: Server(c, base, 3, target=TARGET))
        try:
            rounds(up, out)
        finally:
            end(up)
    return out


def greet(port, request=b""):
    """The first connection: what it starts is there for the next ones."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as c:
            c.sendall(request)
            if c.recv(1):
                return
    except OSError as error:
        raise Failed("%s" % error)
    raise Failed("forwards nothing")


def rounds(up, out):
    for name, s in list(up.items()):
        try:
            greet(s.base, REQUEST)
            greet(s.base + 1)
            greet(s.base + 2)
        except Failed as error:
            log("forward", name, error)
            up.pop(name).stop()
    spent = 0
    for round_ in range(Options.rounds):
        if spent > SECONDS:
            log("forward: %d rounds" % round_)
            break
        Quiet.wait()
        began = time.time()
        for offset, measure in ((0, requests), (1, connections), (2, stream), (2, stream_unpaced)):
            for name in in_turn(up, round_):  # one after the other: what disturbs one disturbs its neighbours
                values = out[name].setdefault(measure.__name__, [None] * Options.rounds)
                values[round_] = measure(up[name].base + offset)
        spent += time.time() - began


def requests(port):
    """A second, over 16 connections that are kept alive."""
    said = subprocess.run(["wrk", "-t1", "-c16", "-d1s", "http://127.0.0.1:%d/" % port], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True).stdout
    found = re.search(r"^Requests/sec: +([\d.]+)$", said, re.M)
    return float(found.group(1)) if found and "Socket errors" not in said else None


def connections(port):
    """A second, each for one byte."""
    r = load("thr", port, CONNECTIONS, AT_ONCE, STALL_MS, CAP_MS)
    return r["ok"] / r["secs"] if r["ok"] == r["asked"] else None


def stream(port):
    """Of one connection, in 10^9 bytes a second. Each is short, and the quickest is the least disturbed."""
    tries = [load("bulk", port, MEGABYTES) for _ in range(2)]
    return max((r["gbs"] for r in tries if r["bytes"] >= MEGABYTES << 20), default=None)


def stream_unpaced(port):
    """The same with a TCP that does not measure out what it sends by a timer, as BBR does."""
    with congestion_control("reno"):  # cubic is no faster or slower here, but a namespace may not choose it
        return stream(port)


@contextlib.contextmanager
def congestion_control(name):
    """For the connections that are opened meanwhile, on both sides of the server."""
    path = "/proc/sys/net/ipv4/tcp_congestion_control"
    before = read(path)
    with open(path, "w") as f:
        f.write(name)
    try:
        yield
    finally:
        with open(path, "w") as f:
            f.write(before)


def idle_connections(candidates, out):
    """Memory of all processes of a server, after a request, with connections over which nothing comes."""
    for c in candidates:
        try:
            with Server(c, 10000, 1, target=TARGET).start() as s:
                greet(s.base, REQUEST)
                clients = subprocess.Popen([Places.build + "/load", "hold", str(s.base), str(IDLE)],
                                           stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
                there = wait_for(lambda: established(TARGET) == IDLE)
                time.sleep(SETTLED)
                if there:
                    out[c["name"]]["idle"] = memory(descendants(s.pids))
                else:
                    log("forward", c["name"], "holds %d of %d connections" % (established(TARGET), IDLE))
                clients.stdin.close()
                clients.wait()
        except Failed as error:
            log("forward", c["name"], error)
        wait_for(lambda: established(TARGET) == 0)
