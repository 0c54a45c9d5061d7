"""What a server takes while nothing happens, and until it is there: flash, memory, idle turns, start-up."""
import json
import os
import re
import subprocess
import tempfile
import time

from server import (Failed, Options, Perf, Places, Quiet, Server, child, children, end_all, environment, expand, in_turn,
                    load, log, memory, per_listener, read)

GLIBC = re.compile(r"^(libc|libm|libdl|libpthread|librt|libresolv|libnsl|libutil|ld-linux.*)\.so|^ld-linux|^linux-vdso")


def flash(candidates):
    """Executables it needs at run time, plus shared libraries other than those of glibc itself."""
    out = {}
    for c in candidates:
        executables = [expand([f])[0] for f in c["files"] if f != "ldd"]
        libraries = set()
        if "ldd" in c["files"]:
            for f in executables:
                listed = subprocess.run(["ldd", f], env=environment(c), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True).stdout
                for m in re.finditer(r"^\s*(\S+) => (/\S+)", listed, re.M):
                    if not GLIBC.match(m.group(1)):
                        libraries.add(os.path.realpath(m.group(2)))
        out[c["name"]] = dict(bytes=sum(map(os.path.getsize, executables)), libraries=sum(map(os.path.getsize, libraries)))
    return out


def resident(candidates):
    """Private dirty pages and PSS, as shipped, summed over all processes."""
    out = {}
    for n in Options.listeners:
        for c in candidates:
            try:
                with Server(c, 10000, n, child("b"), limits_off=False).start() as s:
                    out.setdefault(c["name"], {})[str(n)] = memory(s.pids)
            except Failed as error:
                log("memory", c["name"], n, error)
    return out


def sleeps(pid):
    """Whether the process waits without a time limit: the fourth argument of its epoll_wait or epoll_pwait is -1."""
    words = read("/proc/%d/syscall" % pid).split()
    return words[0] in ("232", "281") and int(words[4], 16) & 0xffffffff == 0xffffffff


def idle(candidates):
    """System calls while nobody comes, after a few connections, so that lazy things have happened."""
    up, out = [], {}
    try:
        for i, c in enumerate(candidates):
            try:
                up.append(Server(c, 10000 + 10 * i, 4, child("b")).start())
            except Failed as error:
                log("idle", c["name"], error)
        for s in up:
            load("lat", s.base, 5, 0, 0, 100)
        time.sleep(1.5)
        counters = [Perf(s.pids, kids=False) for s in up]
        time.sleep(Options.idle)
        for s, counter in zip(up, counters):
            out[s.candidate["name"]] = dict(calls=counter.done()[0], no_timer=sleeps(s.pids[0]))
    finally:
        for s in reversed(up):
            s.stop()
    return out


def start_once(c, n):
    """Milliseconds from exec until every listener is there, seen from outside by sock_diag."""
    s = Server(c, 10000, n, child("b"), limits_off=False)
    command = [w.replace("10000", "%P") for w in s.commands[0]] if s.per else s.commands[0]
    run = subprocess.run([Places.build + "/load", "start", "10000", str(n), "--"] + command, env=s.env,
                         stdout=subprocess.PIPE, text=True, timeout=90)
    try:
        told = json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None
    if told.get("listening") != n:
        log("start-up", c["name"], n, told)
        return None
    return told["us"] / 1e3


def startup(candidates):
    out = {}
    for n in (4, 512):
        for round_ in range(Options.rounds):
            Quiet.wait()
            for c in in_turn(candidates, round_, lambda c: c["name"]):
                slow = n == 512 and per_listener(c)
                if slow and round_ > 0:
                    continue
                values = out.setdefault(c["name"], {}).setdefault("ms%d" % n, [None] * Options.rounds)
                # several starts in one round: each is short, and the quickest is the least disturbed
                tries = [start_once(c, n) for _ in range(1 if slow else 3)]
                values[round_] = min((t for t in tries if t is not None), default=None)
                if n == 512:
                    lines = out[c["name"]].setdefault("inetd512", [None] * Options.rounds)
                    tries = [start_once(c | c["inetd"], n) for _ in range(3)] if "inetd" in c else [values[round_]]
                    lines[round_] = min((t for t in tries if t is not None), default=None)
    for c in candidates:
        for n in (1,) if per_listener(c) else (4, 512):
            try:
                calls = start_calls(c, n)
            except Failed as error:
                log("start-up calls", c["name"], error)
                continue
            if n == 1 and calls:
                out[c["name"]].update(calls4=4 * calls, calls512=512 * calls)
            else:
                out[c["name"]]["calls%d" % n] = calls
    return out


def start_calls(c, n):
    """System calls from exec to the last listen, by strace."""
    s = Server(c, 10000, n, child("b"), limits_off=False)
    f = tempfile.mktemp(dir=Places.work)
    s.commands = [["/usr/bin/strace", "-f", "-c", "-o", f] + s.commands[0]]
    with s.start(timeout=60):
        tracers = [p for p in s.pids if read("/proc/%d/comm" % p).strip() == "strace"]
        traced = [p for p in s.pids if p not in tracers] + [p for t in tracers for p in children(t)]
        for p in traced:
            try:
                os.kill(p, 9)
            except ProcessLookupError:
                pass
        end = time.time() + 5
        while tracers and time.time() < end:
            tracers = [t for t in tracers if not os.waitpid(t, os.WNOHANG)[0]]
            time.sleep(0.01)
        end_all(lambda: set(children()) - s.before)
    m = re.search(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total", read(f), re.M)
    return int(m.group(1)) if m else None
