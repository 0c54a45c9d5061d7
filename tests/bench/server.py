"""One running candidate, what the kernel says about it, and the load that is put on it."""
import contextlib
import ctypes
import fcntl
import json
import os
import random
import re
import resource
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time


class Places:
    """Folders of this run: peers, programs built for it, and a scratch folder that goes away."""
    peers = build = work = None


class Options:
    """What the command line asked for; see `run`."""
    rounds, conns, burst, idle, quiet, listeners = 5, 150, 2000, 10, 30.0, (4, 64, 512)
    judged, seldom = (), 1  # see in_turn


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def read(path):
    with open(path) as f:
        return f.read()


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def children(pid=None):
    out = []
    try:
        for task in os.listdir("/proc/%d/task" % (pid or os.getpid())):
            out += [int(x) for x in read("/proc/%d/task/%s/children" % (pid or os.getpid(), task)).split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return out


def descendants(pids):
    """These processes, their children, the children of those, and so on."""
    return [p for pid in pids for p in [pid] + descendants(children(pid))]


def cpu_ns(pids):
    """Time on a CPU, of the processes alone, in nanoseconds (schedstat: it does not depend on clock ticks)."""
    total = 0
    for pid in pids:
        try:
            total += int(read("/proc/%d/schedstat" % pid).split()[0])
        except (OSError, ValueError):
            pass
    return total


def memory(pids):
    """Sums over processes, in kB, from smaps_rollup: VmRSS is off by up to 64 pages on each CPU."""
    total = dict(Rss=0, Pss=0, Private_Dirty=0)
    for pid in pids:
        for line in read("/proc/%d/smaps_rollup" % pid).splitlines()[1:]:
            key, value = line.split(":")
            if key in total:
                total[key] += int(value.split()[0])
    return total


def local_ports(state, protocol="tcp"):
    """Of all sockets in that state, a number of proc(5); both families."""
    lines = [line.split() for name in (protocol, protocol + "6") for line in read("/proc/self/net/" + name).splitlines()[1:]]
    return [int(words[1].rsplit(":", 1)[1], 16) for words in lines if words[3] == state]


def listening(base, n, udp=False):
    """How many ports have a listener, or with `udp` an unconnected socket."""
    ports = local_ports("07", "udp") if udp else local_ports("0A")
    return len({port for port in ports if base <= port < base + n})


def established(port):
    """How many connections the server on that port has."""
    return local_ports("01").count(port)


def wait_for(condition, seconds=5):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def one_cpu():
    """For the clients, the servers and what they start: the steadiest figures, and what a small board sees."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Failed(Exception):
    pass


def expand(words, prog=(), limits=(), **more):
    out = []
    for word in words:
        if word == "{prog}":
            out += prog
        elif word == "{limits}":
            out += limits
        else:
            known = dict(more, prog=" ".join(prog), limits=" ".join(limits), peers=Places.peers, build=Places.build)
            out.append(re.sub(r"\{(\w+)\}", lambda m: str(known.get(m.group(1), m.group(0))), word))
    return out


def environment(candidate):
    env = dict(os.environ)
    env.pop("LD_LIBRARY_PATH", None)
    for key, value in candidate.get("env", {}).items():
        env[key] = expand([value])[0]
    return env


def per_listener(candidate):
    """One process for each listener."""
    return any("{port}" in word for word in candidate["argv"])


class Server:
    """A candidate with `n` listeners from port `base`; with `target`, each is forwarded to a port from there on."""
    serial = 0

    def __init__(self, candidate, base, n, prog=(), wait=False, proto="tcp", target=None, limits_off=True):
        self.candidate, self.base, self.n, self.proto = candidate, base, n, proto
        key = "udp_argv" if proto == "udp" else "wait_argv" if wait else "forward_argv" if target else "argv"
        template = candidate.get(key) or candidate["argv"]
        self.per = any("{port}" in word for word in template)
        limits = candidate.get("limits_off", []) if limits_off else []
        self.env = environment(candidate)
        services = [dict(port=base + i, proto=proto, wait=wait, argv=prog, target=target and target + i) for i in range(n)]
        Server.serial += 1
        conf = os.path.join(Places.work, "conf.%d" % Server.serial)
        run = os.path.join(Places.work, "run.%d" % Server.serial)
        if "conf" in candidate:
            with open(conf, "w") as f:
                f.write(candidate["conf"](services, limits_off))
        used = services if self.per else services[:1]
        self.commands = [expand(template, prog, limits, conf=conf, run=run, base=base, n=n, port=s["port"],
                                target=s["target"]) for s in used]

    def start(self, timeout=30):
        self.before = set(children())
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, i) for i in (0, 1, 2)]
        try:
            for command in self.commands:
                os.posix_spawn(command[0], command, self.env, file_actions=actions, setsid=True)
        except OSError as error:
            self.stop()
            raise Failed("%s: %s" % (self.commands[0][0], error))
        finally:
            os.close(null)
        end = time.time() + timeout
        while listening(self.base, self.n, self.proto == "udp") < self.n:
            status = self.reap()
            if time.time() > end or not set(children()) - self.before:
                self.stop()
                raise Failed("does not listen" + (", exit status %d" % status if status else ""))
            time.sleep(0.003)
        time.sleep(0.03)
        self.reap()
        self.pids = sorted(set(children()) - self.before)
        return self

    def reap(self):
        """Takes away what has ended: also the middle process of a double fork, which comes to us. The last exit status."""
        status = 0
        for pid in set(children()) - self.before:
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(pid, os.WNOHANG)[1]) or status
            except ChildProcessError:
                pass
        return status

    def alive(self):
        self.reap()
        return [p for p in self.pids if os.path.exists("/proc/%d/exe" % p) and
                read("/proc/%d/stat" % p).rsplit(")", 1)[1].split()[0] != "Z"]

    def stop(self):
        end_all(lambda: set(children()) - self.before)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def end_all(mine, seconds=10):
    """Ends and reaps our children until `mine` names none; those of an ended one come to us, see `isolate`."""
    end = time.time() + seconds
    while time.time() < end and (left := mine()):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def load(*args, timeout=120):
    run = subprocess.run([os.path.join(Places.build, "load")] + [str(a) for a in args], stdout=subprocess.PIPE,
                         timeout=timeout, text=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def child(*args):
    return [os.path.join(Places.build, "child")] + [str(a) for a in args]


def in_turn(items, round_, name=str):
    """Who is measured in a round, in a new order each time, so that nobody always runs after the same one. Whose ratio is
    judged runs in each round, close to the floor: the machine is not the same a second later. The others run in a few."""
    items = sorted(items, key=lambda item: (name(item) not in Options.judged, random.random()))
    return [item for item in items if name(item) in Options.judged or round_ % Options.seldom == 0]


class Perf:
    """Counts the system calls of processes; with `kids`, those of their children as well, separately."""

    def __init__(self, pids, kids=True):
        self.files, self.counters = [], []
        for inherit in ([], ["-i"]) if kids else (["-i"],):
            f = tempfile.mktemp(dir=Places.work)
            command = ["perf", "stat", "-x,", "-o", f, "-e", "raw_syscalls:sys_enter"] + inherit
            self.counters.append(subprocess.Popen(command + ["-p", ",".join(map(str, pids))],
                                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            self.files.append(f)
        time.sleep(0.25)

    def done(self):
        """The counts: with children, then without (the only one if there were no kids to count). None: perf may not."""
        out = []
        for counter, f in zip(self.counters, self.files):
            counter.send_signal(signal.SIGINT)
            counter.wait()
            counts = [line.split(",")[0] for line in read(f).splitlines() if "sys_enter" in line]
            count = counts[0].replace("<not counted>", "0") if counts else ""  # as it is told of who never ran
            out.append(int(count) if count.isdigit() else None)
        return out


class Quiet:
    """Others work on this machine: waits for quiet moments, as long as the budget for that lasts."""
    busy, waited = [], 0.0

    @classmethod
    def wait(cls):
        def ticks():
            v = [int(x) for x in read("/proc/stat").splitlines()[0].split()[1:9]]
            return v[3] + v[4], sum(v)
        while True:
            a = ticks()
            time.sleep(0.1)
            b = ticks()
            busy = 1 - (b[0] - a[0]) / max(1, b[1] - a[1])
            if busy < 0.2 or cls.waited >= Options.quiet:
                cls.busy.append(busy)
                return
            time.sleep(0.4)
            cls.waited += 0.5


def isolate():
    """A network and mount namespace of our own: no port can clash, /run is private, and daemons come back to us."""
    libc = ctypes.CDLL(None, use_errno=True)
    newns, newnet, recursive, private, subreaper = 0x20000, 0x40000000, 0x4000, 1 << 18, 36
    if libc.unshare(newns | newnet):
        raise SystemExit("unshare: %s (this needs root)" % os.strerror(ctypes.get_errno()))
    libc.mount(b"none", b"/", None, recursive | private, None)
    if libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755"):
        raise SystemExit("mount /run: %s" % os.strerror(ctypes.get_errno()))
    with socket.socket() as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write("40000 65000")
    libc.prctl(subreaper, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def realtime():
    """Ahead of everybody else on the machine. Sessions of their own, which servers give to their children, share the
    CPU evenly with the sessions of others whatever their nice value (sched(7), autogroup): only this helps there."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
