"""Makes what is measured: the peers from Debian's packages, the floor and the helpers from C, Dormouse in both kinds."""
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from server import Places, log

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = "x86_64-unknown-linux-musl"
# What is missing of these is installed, by root: a program, and the Debian package that has it.
NEEDS = {"gcc": "gcc", "make": "make", "musl-gcc": "musl-tools", "strace": "strace", "perf": "linux-perf", "wrk": "wrk",
         "file": "file", "dpkg-source": "dpkg-dev", "bzip2": "bzip2", "/usr/include/linux/if.h": "linux-libc-dev"}
# The peers, and the libraries that a Debian without them lacks. They are unpacked, not installed.
PACKAGES = ["openbsd-inetd", "inetutils-inetd", "xinetd", "rlinetd", "ucspi-tcp", "ipsvd", "systemd",
            "libsystemd-shared", "libwrap0", "socat"]
BUSYBOX = ["INETD", "FEATURE_INETD_SUPPORT_BUILTIN_ECHO", "FEATURE_INETD_SUPPORT_BUILTIN_DISCARD",
           "FEATURE_INETD_SUPPORT_BUILTIN_TIME", "FEATURE_INETD_SUPPORT_BUILTIN_DAYTIME",
           "FEATURE_INETD_SUPPORT_BUILTIN_CHARGEN", "STATIC", "LFS", "LONG_OPTS", "FEATURE_SYSLOG", "FEATURE_IPV6",
           "FEATURE_PREFER_IPV4_ADDRESS", "SH_IS_NONE"]
THIN = ["-Wl,-z,noseparate-code", "-Wl,-z,norelro"]  # no padding to pages


def quietly(command, **more):
    """Runs it; what it says is shown only when it fails."""
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if run.returncode:
        raise SystemExit("%s failed:\n%s" % (" ".join(command), run.stdout[-3000:]))
    return run.stdout


def install():
    missing = sorted({package for what, package in NEEDS.items() if not (shutil.which(what) or os.path.exists(what))})
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise SystemExit("not installed: " + " ".join(missing))
    log("installing", *missing)
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    quietly(["apt-get", "update", "-qq"], env=env)
    patient = ["-o", "DPkg::Lock::Timeout=300"]  # another apt-get may be at work
    quietly(["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + patient + missing, env=env)


def suite():
    with open("/etc/os-release") as f:
        return dict(line.strip().split("=", 1) for line in f if "=" in line)["VERSION_CODENAME"]


def peers():
    """Fetches the peers once, into the cache that cross/ has as well."""
    cache = os.environ.get("DORMOUSE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dormouse")
    Places.peers = os.path.join(cache, "peers")
    if os.path.exists(Places.peers):
        return
    new = Places.peers + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new + "/packages")
    log("fetching the peers")
    quietly([ROOT + "/cross/debian", suite(), "amd64"] + PACKAGES, cwd=new + "/packages")
    for package in sorted(os.listdir(new + "/packages")):
        quietly(["dpkg-deb", "-x", os.path.join(new, "packages", package), new])
    busybox(new, os.path.join(cache, "apt", suite() + "-amd64"))
    with open(new + "/versions", "w") as f:
        f.write("\n".join(sorted(p.rsplit("_", 1)[0].replace("%3a", ":").replace("_", " ")
                                 for p in os.listdir(new + "/packages") if p.endswith(".deb"))) + "\n")
    os.rename(new, Places.peers)


def busybox(new, state):
    """busybox of Debian's source package, nothing in it but inetd; `state` is where cross/debian keeps apt's lists."""
    source = new + "/source"
    os.makedirs(source)
    with open(state + "/sources.list") as f:
        line = f.read().replace("deb ", "deb-src ", 1)
    with open(source + "/sources.list", "w") as f:
        f.write(line)
    apt = ["apt-get", "-qq", "-o", "Dir::State::Lists=" + source + "/lists", "-o", "Dir::Cache=" + source + "/cache",
           "-o", "Dir::Etc::sourcelist=" + source + "/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
           "-o", "APT::Sandbox::User=root"]
    os.makedirs(source + "/lists/partial")
    os.makedirs(source + "/cache/archives/partial")
    quietly(apt + ["update"])
    quietly(apt + ["source", "--download-only", "busybox"], cwd=source)
    description = next(f for f in os.listdir(source) if f.endswith(".dsc"))
    quietly(["dpkg-source", "--no-check", "-q", "-x", description, "busybox"], cwd=source)
    tree = source + "/busybox"
    quietly(["make", "allnoconfig"], cwd=tree)
    with open(tree + "/.config") as f:
        config = f.read().replace("CONFIG_SH_IS_ASH=y", "# CONFIG_SH_IS_ASH is not set")
    for option in BUSYBOX:
        config = config.replace("# CONFIG_%s is not set" % option, "CONFIG_%s=y" % option)
    headers = "-idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu"  # the kernel's, which musl has not
    config = config.replace('CONFIG_EXTRA_CFLAGS=""', 'CONFIG_EXTRA_CFLAGS="%s"' % headers)
    config = config.replace('CONFIG_EXTRA_LDFLAGS=""', 'CONFIG_EXTRA_LDFLAGS="%s"' % " ".join(THIN))
    with open(tree + "/.config", "w") as f:
        f.write(config)
    quietly(["make", "oldconfig"], cwd=tree, input="\n" * 2000)
    quietly(["make", "-j%d" % os.cpu_count(), "CC=musl-gcc"], cwd=tree)
    shutil.copy(tree + "/busybox", new + "/busybox-inetd")
    with open(new + "/packages/busybox_%s_.deb" % description.split("_")[1].removesuffix(".dsc"), "w"):
        pass  # for the list of versions
    shutil.rmtree(source)


def floor():
    """The floor, the child that servers start, the load generator."""
    def cc(source, out, *flags):
        quietly(list(flags) + ["-o", os.path.join(Places.build, out), os.path.join(HERE, source)])
        with open(os.path.join(Places.build, out)) as f:
            os.fsync(f.fileno())  # else its pages count as dirty
    small = ["-static", "-Os", "-s", "-Wl,--build-id=none"] + THIN
    cc("limit.c", "limit", "musl-gcc", *small)
    cc("limit.c", "limit_share", "musl-gcc", "-DSHARE", *small)
    cc("limit.c", "limit_session", "musl-gcc", "-DSHARE", "-DSESSION", *small)
    cc("limit_forward.c", "limit_forward", "musl-gcc", *small)
    cc("child.c", "child", "gcc", "-nostdlib", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", *small)
    cc("load.c", "load", "gcc", "-O2", "-w")


def cross(kind, target=TARGET, *options):
    """Builds Dormouse as for a board; the path of the binary."""
    said = quietly([ROOT + "/cross/build", "--kind", kind, *options, target]).strip().splitlines()[-1]
    return os.path.join(ROOT, said.split("bytes, ")[1].strip())


def dormouse(kinds, for_boards):
    """Builds the kinds that are asked for, at the same time. Returns the bytes of flash on boards, if they are asked for,
    too: everything in, and no optional part."""
    armv7, aarch64 = "armv7-unknown-linux-musleabihf", "aarch64-unknown-linux-musl"
    log("building Dormouse")

    def one(kind):
        shutil.copy(cross(kind), os.path.join(Places.build, kind))
        if kind != "firmware" or not for_boards:
            return {}
        log("building Dormouse for", armv7, "and", aarch64)
        size = lambda *words: os.path.getsize(cross("firmware", *words))
        return dict(armv7=size(armv7), aarch64=size(aarch64), armv7_bare=size(armv7, "--features", "none"))
    with ThreadPoolExecutor() as pool:
        sizes = [size for size in pool.map(one, kinds) if size]
    os.sync()
    return sizes[0] if sizes else None


def versions():
    try:
        with open((Places.peers or "/nonexistent") + "/versions") as f:
            return f.read().split("\n")
    except OSError:
        return []


def commit():
    run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True)
    return run.stdout.strip()


if __name__ == "__main__":
    sys.exit("this is a part of tests/bench/run")
