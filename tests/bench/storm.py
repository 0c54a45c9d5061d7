"""More than there is room for: 2000 connections at once, and no descriptor left."""
import json
import os
import resource
import socket
import subprocess
import time

from server import Failed, Options, Perf, Places, Server, child, children, cpu_ns, load, log

PATIENCE_MS = 2500  # of the clients. A SYN that finds the queue full is sent again after 1 s, then after 3 s
WITHOUT_S = 1.0     # how long there is no descriptor


def burst(candidates):
    """Everybody at once, as shipped; each child holds its connection for 200 ms."""
    out = {}
    for c in candidates:
        try:
            with Server(c, 10000, 4, child("h", 200), limits_off=False).start() as s:
                ns = cpu_ns(s.pids)
                clients = subprocess.Popen(
                    [Places.build + "/load", "burst", str(s.base), str(Options.burst), str(PATIENCE_MS)],
                    stdout=subprocess.PIPE, text=True)
                most = 0
                while clients.poll() is None:
                    most = max(most, sum(len(children(p)) for p in s.pids))
                    time.sleep(0.01)
                r = json.loads(clients.stdout.read())
                out[c["name"]] = dict(
                    served=r["ok"], closed=r["empty"], refused=r["refused"] + r["reset"] + r["other"], waiting=r["timeout"],
                    seconds=r["secs"], most=most, cpu_ms=(cpu_ns(s.pids) - ns) / 1e6,
                    alive=len(s.alive()) == len(s.pids))
        except Failed as error:
            log("burst", c["name"], error)
    return out


def without_descriptors(candidates):
    """RLIMIT_NOFILE is lowered to what is open while four clients wait, then raised again."""
    out = {}
    for c in candidates:
        try:
            with Server(c, 10000, 1, child("b")).start() as s:
                out[c["name"]] = starve(s)
        except Failed as error:
            log("emfile", c["name"], error)
    return out


def starve(s):
    load("lat", s.base, 5, 0, 0, 200)
    pid = s.pids[0]
    used = {int(x) for x in os.listdir("/proc/%d/fd" % pid)}
    low = next(i for i in range(1 << 20) if i not in used)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (low, before[1]))
    counter, ns = Perf([pid], kids=False), cpu_ns([pid])
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", s.base))
        waiting.append(client)
    time.sleep(WITHOUT_S)
    out = dict(cpu=(cpu_ns([pid]) - ns) / 1e9 / WITHOUT_S * 100, calls=counter.done()[0],
               alive=pid in s.alive(), served=0, fresh=False)
    if out["alive"]:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        out["served"] = answered(waiting, 1.5)
        out["fresh"] = load("lat", s.base, 1, 0, 0, 800)["ok"] == 1
    for client in waiting:
        client.close()
    return out


def answered(clients, seconds):
    """How many of them get a byte."""
    got, left, end = 0, list(clients), time.time() + seconds
    while left and time.time() < end:
        for client in list(left):
            try:
                got += len(client.recv(1))
                left.remove(client)
            except BlockingIOError:
                pass
            except OSError:
                left.remove(client)
        time.sleep(0.01)
    return got
