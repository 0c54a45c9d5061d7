"""What a connection costs: latency, throughput, CPU time, system calls; few and many listeners; waking a service."""
import re
import signal
import subprocess
import tempfile
import time

from server import (Failed, Options, Perf, Places, Quiet, Server, child, cpu_ns, in_turn, load, log, median, one_cpu,
                    per_listener, read)

SLOW = 12       # seconds: who has taken longer in one section is left out of its later rounds
FRESH = 6       # fresh starts a round, for what serves only once
STALL_MS = 1500  # a measurement ends when nothing has come for this long
CAP_MS = 800    # and opens nothing new after this time


def all_up(what, candidates, make):
    """Starts a server for each; `make` gets the candidate and the first port."""
    up, base = {}, 10000
    for c in candidates:
        try:
            up[c["name"]] = make(c, base).start()
        except Failed as error:
            log(what, c["name"], error)
        base += 600
    return up


def end(up):
    for s in reversed(list(up.values())):
        s.stop()


@one_cpu()
def nowait(candidates):
    """A process for each connection."""
    out = {c["name"]: {} for c in candidates}
    spent, n = {}, Options.conns
    up = all_up("nowait", candidates, lambda c, base: Server(c, base, 4, child("b")))
    try:
        for round_ in range(Options.rounds):
            Quiet.wait()
            for name in in_turn(up, round_):
                if spent.get(name, 0) > SLOW:
                    continue
                s, began, d = up[name], time.time(), out[name]

                def put(key, value):
                    d.setdefault(key, [None] * Options.rounds)[round_] = value
                r = load("lat", s.base, n, 20, 0, CAP_MS)
                put("p50", r["p50"])
                put("p99", r["p99"])
                lost = r["asked"] - r["ok"]
                ns = cpu_ns(s.pids)
                r = load("thr", s.base, 2 * n, 8, STALL_MS, CAP_MS)
                put("persec", r["ok"] / r["secs"] if r["secs"] else None)
                put("cpu", (cpu_ns(s.pids) - ns) / 1e3 / r["asked"])
                d["lost"] = d.get("lost", 0) + lost + r["asked"] - r["ok"]
                spent[name] = spent.get(name, 0) + time.time() - began
    finally:
        end(up)
    return out


def calls(candidates):
    """System calls for one connection: the server's, and the child's before its program runs."""
    n, out = 400, {}
    for c in candidates:
        try:
            with Server(c, 10000, 4, child("b")).start() as s:
                pids = s.pids[:1] if s.per else s.pids
                load("lat", s.base, 50, 0, 0, 500)
                counter = Perf(pids)
                asked = load("lat", s.base, n, 0, 0, 2000)["asked"]
                time.sleep(0.1)
                whole, own = counter.done()
                if whole is None or own is None:
                    raise Failed("perf counts no system calls here")
                # the program itself makes two: write and exit
                out[c["name"]] = dict(server=own / asked, child=(whole - own) / asked - 2,
                                      names=call_names(pids[0], s.base))
        except Failed as error:
            log("calls", c["name"], error)
    return out


def call_names(pid, port):
    """The server's calls by name."""
    f = tempfile.mktemp(dir=Places.work)
    tracer = subprocess.Popen(["strace", "-c", "-o", f, "-p", str(pid)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(0.2)
    asked = load("lat", port, 100, 0, 0, 2000)["asked"]
    time.sleep(0.05)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    found = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", read(f), re.M)
    return ["%.1f %s" % (int(k) / asked, name) for k, name in found if name != "total" and int(k) / asked >= 0.5]


@one_cpu()
def many(candidates):
    """The same load on one port, the last one, with 4 and with 512 listeners."""
    candidates = [c for c in candidates if not per_listener(c)]
    out, spent, n = {}, {}, Options.conns
    up = {}
    try:
        for listeners in (4, 512):
            first = 10000 if listeners == 4 else 20000
            some = all_up("many", candidates, lambda c, base: Server(c, base - 10000 + first, listeners, child("b")))
            up.update({(name, listeners): s for name, s in some.items()})
        for round_ in range(Options.rounds):
            Quiet.wait()
            for name, listeners in in_turn(up, round_, lambda key: key[0]):
                if spent.get(name, 0) > SLOW:
                    continue
                s, began = up[name, listeners], time.time()
                r = load("lat", s.base + s.n - 1, n, 20, 0, CAP_MS)
                values = out.setdefault(name, {}).setdefault("p50_%d" % listeners, [None] * Options.rounds)
                values[round_] = r["p50"]
                spent[name] = spent.get(name, 0) + time.time() - began
    finally:
        end(up)
    return out


@one_cpu()
def wake(candidates):
    """TCP: the service accepts by itself, serves one and ends, so that each connection starts it anew. Servers that serve
    once are started afresh each time, and have a floor of their own."""
    out = {}
    lasting = [c for c in candidates if not c.get("oneshot")]
    once = [c for c in candidates if c.get("oneshot")]
    once += candidates[:1] if once else []
    up = all_up("wake", lasting, lambda c, base: Server(c, base, 4, child("0"), wait=True))

    def put(name, round_, p50, asked, ok):
        d = out.setdefault(name, dict(p50=[None] * Options.rounds, asked=0, ok=0))
        d["asked"] += asked
        d["ok"] += ok
        d["p50"][round_] = p50 if ok else None
    try:
        for round_ in range(Options.rounds):
            Quiet.wait()
            for name in in_turn(up, round_):
                r = load("lat", up[name].base, Options.conns, 10, 0, 1000)
                put(name, round_, r["p50"], r["asked"], r["ok"])
            for c in once if round_ % Options.seldom == 0 else ():
                took = []
                for _ in range(FRESH):
                    try:
                        with Server(c, 9000, 1, child(str(c.get("child_fd", 0))), wait=True).start():
                            r = load("lat", 9000, 1, 0, 0, 0)
                            took.append(r["p50"] if r["ok"] else None)
                    except Failed as error:
                        log("wake", c["name"], error)
                put(c["name"] + " (first)", round_, median(took), len(took), len([t for t in took if t is not None]))
    finally:
        end(up)
    return out


@one_cpu()
def udp(candidates):
    """A datagram starts the service, which answers it and ends."""
    out = {}
    candidates = [c for c in candidates if not c.get("oneshot")]
    up = all_up("udp", candidates, lambda c, base: Server(c, base, 1, child("u"), wait=True, proto="udp"))
    try:
        dead = set()
        for round_ in range(Options.rounds):
            Quiet.wait()
            for name in in_turn(set(up) - dead, round_):
                r = load("udp", up[name].base, Options.conns, 10, 600, 1500)
                d = out.setdefault(name, dict(p50=[None] * Options.rounds, asked=0, ok=0))
                d["p50"][round_] = r["p50"] if r["ok"] else None
                d["asked"] += r["asked"]
                d["ok"] += r["ok"]
                if r["ok"] < r["asked"] / 2:
                    dead.add(name)
    finally:
        end(up)
    return out
