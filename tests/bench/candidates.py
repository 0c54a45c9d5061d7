"""Who is measured: a command line template and a writer of configurations for each.

A service is a dict: port, proto ("tcp" or "udp"), wait (bool), argv (list; the program is argv[0], an absolute path), target
(None, or the port that is forwarded to, and then there is no program). All are on 127.0.0.1. A candidate is a dict:

  name        what the tables show
  argv        list of words. {conf} is the path of the configuration; {base} and {n} the first port and how many; {port}
              one port (then one process is started for each listener), and {target} the one that is forwarded to;
              {prog} and {limits} stand alone and become several words; {peers} and {build} are folders; {run} is a file
              name that is free for pids
  limits_off  words for {limits} that take the limits away (rate, instances, backlog); without them everything is as
              shipped, which only the memory, the start-up and the first burst are measured with
  conf        a writer of configurations, or absent
  env         more environment
  modes       what it can do: nowait, wait, udp-wait, forward
  wait_argv, udp_argv, forward_argv   other templates for those modes
  oneshot     in wait mode it serves once and is gone
  child_fd    the descriptor on which a wait service finds the listener (0, or 3)
  files       the executables, for the flash; "ldd" adds their shared libraries
  inetd       what differs when it reads inetd.conf, for those who have a form of their own as well
"""
import os


def inetd(services, limits_off):
    """inetd.conf with addresses, which busybox, openbsd-inetd and inetutils-inetd read alike."""
    out = []
    for s in services:
        args = " ".join([os.path.basename(s["argv"][0])] + s["argv"][1:])
        kind = "stream" if s["proto"] == "tcp" else "dgram"
        wait = "wait" if s["wait"] else "nowait"
        out.append("127.0.0.1:%d %s %s %s root %s %s\n" % (s["port"], kind, s["proto"], wait, s["argv"][0], args))
    return "".join(out)


def xinetd(services, limits_off):
    out = ["defaults\n{\n log_type = FILE /dev/null\n"]
    if limits_off:
        out.append(" instances = UNLIMITED\n per_source = UNLIMITED\n cps = 1000000 1\n")
    out.append("}\n")
    for i, s in enumerate(services):
        if s["target"]:
            what = "redirect = 127.0.0.1 %d" % s["target"]
        else:
            program, *args = s["argv"]
            what = "server = " + program + ("\n server_args = " + " ".join(args) if args else "")
        out.append(
            "service s%d\n{\n type = UNLISTED\n socket_type = %s\n protocol = %s\n port = %d\n bind = 127.0.0.1\n"
            " wait = %s\n user = root\n %s\n}\n" % (
                i, "stream" if s["proto"] == "tcp" else "dgram", s["proto"], s["port"], "yes" if s["wait"] else "no", what))
    return "".join(out)


def rlinetd(services, limits_off):
    out = []
    for i, s in enumerate(services):
        more = " instances 100000;\n backlog 4096;\n" if limits_off and not s["wait"] else ""
        out.append(
            'service "s%d" {\n port "%d";\n interface 127.0.0.1;\n protocol %s;\n exec "%s";\n user "root";\n'
            " wait %s;\n%s}\n" % (
                i, s["port"], s["proto"], " ".join(s["argv"]), "yes" if s["wait"] else "no", more))
    return "".join(out)


def dormouse(services, limits_off):
    out = ["[defaults]\nTriggerLimitBurst=0\n"] if limits_off and not services[0]["target"] else []
    for i, s in enumerate(services):
        if s["target"]:
            what = "ConnectTo=127.0.0.1:%d" % s["target"]
        else:
            what = "%s\nExecStart=%s" % ("StandardInput=socket" if s["wait"] else "Accept=yes", " ".join(s["argv"]))
        out.append("[s%d]\n%s=127.0.0.1:%d\n%s\n" % (
            i, "ListenStream" if s["proto"] == "tcp" else "ListenDatagram", s["port"], what))
    return "".join(out)


X = "{peers}"
LIBS = {"LD_LIBRARY_PATH": X + "/usr/lib/x86_64-linux-gnu"}
SDLIBS = {"LD_LIBRARY_PATH": X + "/usr/lib/x86_64-linux-gnu/systemd"}
ALL = ("nowait", "wait", "udp-wait")
WITH_FORWARD = ALL + ("forward",)
OURS = ["{build}/KIND", "run", "--control", "{run}", "-c", "{conf}"]


def ours(name, kind):
    return dict(name=name, argv=[w.replace("KIND", kind) for w in OURS], conf=dormouse, modes=WITH_FORWARD,
                files=["{build}/" + kind],
                inetd=dict(argv=["{build}/" + kind] + OURS[1:] + ["--dialect", "busybox"], conf=inetd))


FLOOR = dict(name="the floor", argv=["{build}/limit", "-t", "{base}", "{n}", "{prog}"],
             wait_argv=["{build}/limit", "-w", "{base}", "{n}", "{prog}"],
             udp_argv=["{build}/limit", "-u", "{base}", "{n}", "{prog}"],
             forward_argv=["{build}/limit_forward", "{port}", "{target}"], modes=WITH_FORWARD, files=["{build}/limit"])
SHARED = dict(name="the sharing floor", argv=["{build}/limit_share", "-t", "{base}", "{n}", "{prog}"],
              modes=("nowait",), files=["{build}/limit_share"])
SESSION = dict(SHARED, name="the floor with sessions", argv=["{build}/limit_session"] + SHARED["argv"][1:],
               files=["{build}/limit_session"])
FLOORS = [FLOOR, SHARED, SESSION]
FIRMWARE, STABLE = ours("Dormouse", "firmware"), ours("Dormouse on stable", "release")
BUSYBOX = dict(name="busybox inetd", argv=[X + "/busybox-inetd", "-f", "{limits}", "{conf}"],
               limits_off=["-q", "4096"], conf=inetd, modes=ALL, files=[X + "/busybox-inetd"])

CANDIDATES = [
    *FLOORS,
    FIRMWARE,
    STABLE,
    BUSYBOX,
    dict(name="openbsd-inetd", argv=[X + "/usr/sbin/inetd", "-i", "{limits}", "{conf}"],
         limits_off=["-q", "4096", "-R", "100000000"], conf=inetd, modes=ALL, env=LIBS,
         files=[X + "/usr/sbin/inetd", "ldd"]),
    dict(name="inetutils-inetd", argv=[X + "/usr/sbin/inetutils-inetd", "-p{run}", "{limits}", "{conf}"],
         limits_off=["-R", "100000000"], conf=inetd, modes=ALL, files=[X + "/usr/sbin/inetutils-inetd", "ldd"]),
    dict(name="xinetd", argv=[X + "/usr/sbin/xinetd", "-dontfork", "-f", "{conf}", "-pidfile", "{run}"],
         conf=xinetd, modes=WITH_FORWARD, env=LIBS, files=[X + "/usr/sbin/xinetd", "ldd"]),
    dict(name="rlinetd", argv=[X + "/usr/sbin/rlinetd", "-p", X + "/usr/lib/x86_64-linux-gnu/rlinetd/libparse.so",
                               "-f", "{conf}"],
         conf=rlinetd, modes=ALL, env=LIBS,
         files=[X + "/usr/sbin/rlinetd", X + "/usr/lib/x86_64-linux-gnu/rlinetd/libparse.so", "ldd"]),
    dict(name="tcpserver", argv=[X + "/usr/bin/tcpserver", "-RHl0", "{limits}", "127.0.0.1", "{port}", "{prog}"],
         limits_off=["-c", "100000", "-b", "4096"], modes=("nowait",), files=[X + "/usr/bin/tcpserver", "ldd"]),
    dict(name="tcpsvd", argv=[X + "/usr/bin/tcpsvd", "-l", "0", "{limits}", "127.0.0.1", "{port}", "{prog}"],
         udp_argv=[X + "/usr/bin/udpsvd", "-l", "0", "127.0.0.1", "{port}", "{prog}"],
         limits_off=["-c", "100000", "-b", "4096"], modes=("nowait", "udp-wait"),
         files=[X + "/usr/bin/tcpsvd", X + "/usr/bin/udpsvd", "ldd"]),
    dict(name="systemd-socket-activate",
         argv=[X + "/usr/bin/systemd-socket-activate", "-a", "--inetd", "-l", "127.0.0.1:{port}", "{prog}"],
         wait_argv=[X + "/usr/bin/systemd-socket-activate", "-l", "127.0.0.1:{port}", "{prog}"],
         udp_argv=[X + "/usr/bin/systemd-socket-activate", "-d", "--inetd", "-l", "127.0.0.1:{port}", "{prog}"],
         forward_argv=[X + "/usr/bin/systemd-socket-activate", "-E", "LD_LIBRARY_PATH", "-l", "127.0.0.1:{port}",
                       X + "/lib/systemd/systemd-socket-proxyd", "-c", "4096", "127.0.0.1:{target}"],
         modes=WITH_FORWARD, oneshot=True, child_fd=3, env=SDLIBS, files=[X + "/usr/bin/systemd-socket-activate", "ldd"]),
    dict(name="socat", argv=[X + "/usr/bin/socat", "TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork{limits}",
                             "EXEC:{prog},nofork"],
         forward_argv=[X + "/usr/bin/socat", "TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork{limits}",
                       "TCP4:127.0.0.1:{target}"],
         limits_off=[",backlog=4096"], modes=("nowait", "forward"), env=LIBS, files=[X + "/usr/bin/socat", "ldd"]),
]
QUICK = [*FLOORS, FIRMWARE, BUSYBOX]
