"""From measurements to text: the quantities with their budgets, the README's table, the figures of everybody."""
import math
import os
import re

import candidates
import plot
from build import HERE, ROOT
from server import median

NOT_PEERS = [c["name"] for c in (*candidates.FLOORS, candidates.FIRMWARE, candidates.STABLE)]
FLOOR, SHARED, SESSION, OURS, STABLE = NOT_PEERS
FIRST = " (first)"  # what is started afresh for each measurement has a floor of its own


class Quantity:
    """`path` leads to a number, or to one for each round, below a section and a server. `budget` is (bound, value), the
    bound one of "at most", "at least", "x at most", "x at least" (of the floor), "above floor" (at most so much)."""

    def __init__(self, label, section, path, unit="", floor=FLOOR, budget=None, more=False, digits=3, scale=1):
        self.label, self.section, self.path, self.unit, self.floor = label, section, path.split("/"), unit, floor
        self.budget, self.more, self.digits, self.scale = budget, more, digits, scale

    def rounds(self, results, name):
        """All that was measured, one number or one for each round; None where there is nothing."""
        found = results["sections"].get(self.section, {}).get(name)
        for step in self.path:
            found = found.get(step) if isinstance(found, dict) else None
        if found is None or found == []:
            return None
        return [None if v is None else v * self.scale for v in (found if isinstance(found, list) else [found])]

    def value(self, results, name):
        rounds = self.rounds(results, name)
        return median(rounds) if rounds else None

    def ratios(self, results, name):
        """Against the floor, paired by round, sorted."""
        floor = self.floor + FIRST if name.endswith(FIRST) else self.floor
        ours, theirs = self.rounds(results, name), self.rounds(results, floor)
        return sorted(a / b for a, b in zip(ours or [], theirs or []) if a is not None and b)


QUANTITIES = [
    Quantity("private memory, 4 listeners", "resident", "4/Private_Dirty", "kB", budget=("above floor", 16)),
    Quantity("private memory, 64 listeners", "resident", "64/Private_Dirty", "kB"),
    Quantity("private memory, 512 listeners", "resident", "512/Private_Dirty", "kB", budget=("at most", 120)),
    Quantity("PSS, 4 listeners", "resident", "4/Pss", "kB", budget=("at most", 84)),
    Quantity("flash, without shared libraries", "flash", "bytes", "kB", scale=1e-3),
    Quantity("first byte", "nowait", "p50", "us", budget=("x at most", 1.03)),
    Quantity("first byte, 512 listeners", "many", "p50_512", "us", floor=SHARED, budget=("x at most", 1.05)),
    Quantity("connections a second, 8 clients", "nowait", "persec", more=True, digits=4, budget=("x at least", 0.95)),
    Quantity("CPU time of the server for one", "nowait", "cpu", "us", budget=("x at most", 1.10)),
    Quantity("system calls for one, server", "calls", "server", digits=2, budget=("at most", 8.05)),
    Quantity("system calls for one, child before exec", "calls", "child", digits=2, budget=("at most", 8.05)),
    Quantity("start-up, 4 listeners", "startup", "ms4", "ms", budget=("x at most", 2)),
    Quantity("start-up, 512 listeners", "startup", "ms512", "ms", budget=("x at most", 2)),
    Quantity("start-up, 512 lines of inetd.conf", "startup", "inetd512", "ms", budget=("x at most", 2)),
    Quantity("wake by a connection", "wake", "p50", "us", budget=("x at most", 1.05)),
    Quantity("wake by a datagram", "udp", "p50", "us", budget=("x at most", 1.05)),
    Quantity("system calls in 10 idle seconds", "idle", "calls", budget=("at most", 0)),
    Quantity("served of 2000 at once, as shipped", "burst", "served", more=True, digits=4, budget=("at least", 2000)),
    Quantity("the last of them after", "burst", "seconds", "s", budget=("at most", 1)),
    Quantity("forwarded requests a second", "forward", "requests", more=True, digits=4, budget=("x at least", 0.95)),
    Quantity("forwarded connections a second", "forward", "connections", more=True, digits=4, budget=("x at least", 0.9)),
    Quantity("one forwarded stream", "forward", "stream", "GB/s", more=True, budget=("x at least", 1.1)),
    Quantity("one forwarded stream, unpaced", "forward", "stream_unpaced", "GB/s", more=True, budget=("x at least", 1.1)),
    Quantity("private memory, 100 idle forwarded connections", "forward", "idle/Private_Dirty", "kB"),
    Quantity("PSS, 100 idle forwarded connections", "forward", "idle/Pss", "kB", budget=("at most", 100)),
    Quantity("CPU with no descriptor left", "emfile", "cpu", "%", digits=2, budget=("at most", 1)),
    Quantity("served of 4 that waited for one", "emfile", "served", more=True, budget=("at least", 4)),
]
BOARDS = [("flash on armv7, everything in", "armv7", 128), ("flash on aarch64, everything in", "aarch64", 160),
          ("flash on armv7, no optional part", "armv7_bare", 72)]


def number(x, digits=3):
    if x is None:
        return "-"
    if x == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(x)))
    return "%.*f" % (max(0, places), x) if places > 0 else "%d" % round(x)


def with_unit(q, x):
    return number(x, q.digits) + (" " + q.unit if q.unit and x is not None else "")


def spread(ratios):
    if not ratios:
        return "-"
    text = "x" + number(median(ratios))
    return text if len(ratios) == 1 else "%s (%s to %s)" % (text, number(ratios[0]), number(ratios[-1]))


def row(cells):
    return "| " + " | ".join(cells) + " |"


def head(cells):
    return [row(cells), "|" + "|".join("---" if i == 0 else "---:" for i in range(len(cells))) + "|"]


def best_peer(q, results, named):
    """The best of those who are not ours and have no column."""
    found = [(q.value(results, n), n) for n in results["servers"] if n not in named and n not in NOT_PEERS]
    found = [(v, n) for v, n in found if v is not None]
    if not found:
        return "-"
    value, name = (max if q.more else min)(found)
    return "%s %s" % (with_unit(q, value), name)


def readme_table(results):
    """Quantities as rows; the floor, ours, and the best known peers as columns."""
    named = ["busybox inetd", "openbsd-inetd", "xinetd", "systemd-socket-activate"]
    cells = ["", "the floor", "Dormouse", "against the floor (spread)", "stable toolchain"]
    lines = head(cells + named + ["best of the others"])
    for q in QUANTITIES:
        if all(q.value(results, name) is None for name in results["servers"]):
            continue
        floor = with_unit(q, q.value(results, q.floor))
        ratio = spread(q.ratios(results, OURS))
        name = lambda n: n + FIRST if q.value(results, n) is None else n
        peers = [with_unit(q, q.value(results, name(n))) for n in named]
        lines.append(row([q.label, floor, with_unit(q, q.value(results, OURS)), ratio,
                          with_unit(q, q.value(results, STABLE))] + peers + [best_peer(q, results, named)]))
    boards = results["sections"].get("boards", {})
    for label, key, _ in BOARDS:
        if key in boards:
            lines.append(row([label, "-", "%d kB" % round(boards[key] / 1e3)] + ["-"] * (len(named) + 3)))
    return lines


def told(results):
    """Date and machine in words."""
    m = results["meta"]
    quiet = "other work took %d %% of the CPUs when a round began, at most %d %%" % (m["busy"], m["most_busy"])
    return ("Measured on %s, commit %s, by `tests/bench/run` in %d s: %s. %d rounds of %d connections; %s%s." % (
        m["date"], m["commit"], m["seconds"], m["machine"], m["rounds"], m["conns"], quiet,
        "; everything ran ahead of that (SCHED_RR)" if m["realtime"] else ""))


def figures(results):
    """Everything about everybody."""
    lines = ["# Figures", "", told(results), "", ", ".join(v for v in results["meta"]["versions"] if v)]
    for q in QUANTITIES:
        names = [n for name in results["servers"] for n in (name, name + FIRST) if q.value(results, n) is not None]
        if names:
            lines += ["", "## " + q.label + (", " + q.unit if q.unit else ""), ""] + head(["", "median", "x floor (spread)"])
        for name in names:
            lines.append(row([name, number(q.value(results, name), 4), spread(q.ratios(results, name))]))
    if calls := results["sections"].get("calls"):
        lines += ["", "## The server's system calls for one connection, by name", ""] + head(["", "calls"])
        lines += [row([name, ", ".join(of["names"])]) for name, of in calls.items()]
    return "\n".join(lines) + "\n"


def verdicts(results):
    """(holds, text) for each budget that was measured."""
    out = []
    for q in QUANTITIES:
        value, floor, ratio = q.value(results, OURS), q.value(results, q.floor), median(q.ratios(results, OURS))
        if q.budget is None or value is None:
            continue
        bound, limit = q.budget
        against = ratio if bound.startswith("x") else value
        if bound == "above floor":
            limit += floor
        holds = against is not None and (against >= limit if bound.endswith("at least") else against <= limit)
        shown = "x%s of %s, %s" % (number(ratio), with_unit(q, floor), spread(q.ratios(results, OURS))) if bound.startswith("x") \
            else with_unit(q, value)
        if q.section in ("nowait", "many") and (session := q.ratios(results, SESSION)):
            shown += "; a session alone makes it x" + number(median(session))
        word = "at least" if bound.endswith("at least") else "at most"
        limit = ("x" if bound.startswith("x") else "") + number(limit)
        out.append((holds, "%s: %s, budget %s %s" % (q.label, shown, word, limit)))
    for label, key, limit in BOARDS:
        size = results["sections"].get("boards", {}).get(key)
        if size is not None:
            out.append((size <= limit * 1000, "%s: %.1f kB, budget at most %d" % (label, size / 1e3, limit)))
    timer = results["sections"].get("idle", {}).get(OURS, {}).get("no_timer")
    if timer is not None:
        out.append((timer, "no time limit in an idle wait: %s" % ("yes" if timer else "no")))
    return out


def write_readme(results):
    path = os.path.join(ROOT, "README.md")
    with open(path) as f:
        text = f.read()
    block = "\n".join([told(results), ""] + readme_table(results))
    new, count = re.subn(r"(<!-- begin bench -->\n).*?(<!-- end bench -->\n)", lambda m: m[1] + block + "\n" + m[2], text,
                         flags=re.S)
    if count != 1:
        raise SystemExit("README.md has no block between <!-- begin bench --> and <!-- end bench -->")
    with open(path, "w") as f:
        f.write(new)
    with open(os.path.join(HERE, "plot.svg"), "w") as f:
        f.write(plot.draw(results, QUANTITIES))
