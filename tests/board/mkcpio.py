#!/usr/bin/env python3
"""tests/board/mkcpio.py OUT.cpio.gz SPEC...  - write a gzip'd newc archive without root and without cpio.

SPEC:  dir:/path[:mode]   file:/path:HOSTFILE[:mode]   link:/path:target   node:/path:c:MAJ:MIN[:mode]   tree:/path:HOSTDIR
Reproducible: fixed mtime, owner 0:0.
"""
import gzip, os, stat, sys

def main(out, specs):
    ents, seen = [], set()

    def add(path, mode, data=b"", rdev=(0, 0)):
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in seen:
            add(parent, stat.S_IFDIR | 0o755)
        if path in seen and stat.S_ISDIR(mode):
            return
        seen.add(path)
        ents.append((path, mode, data, rdev))

    def add_host(path, host, mode=None):
        if os.path.islink(host):
            add(path, stat.S_IFLNK | 0o777, os.readlink(host).encode())
        elif os.path.isdir(host):
            add(path, stat.S_IFDIR | 0o755)
            for n in sorted(os.listdir(host)):
                add_host(path + "/" + n, os.path.join(host, n))
        else:
            m = mode if mode is not None else (os.stat(host).st_mode & 0o7777)
            with open(host, "rb") as f:
                add(path, stat.S_IFREG | m, f.read())

    for s in specs:
        kind, path, *r = s.split(":")
        if kind == "dir":
            add(path, stat.S_IFDIR | (int(r[0], 8) if r else 0o755))
        elif kind == "link":
            add(path, stat.S_IFLNK | 0o777, r[0].encode())
        elif kind == "node":
            add(path, (stat.S_IFCHR if r[0] == "c" else stat.S_IFBLK) | (int(r[3], 8) if len(r) > 3 else 0o600), rdev=(int(r[1]), int(r[2])))
        elif kind == "file":
            add_host(path, r[0], int(r[1], 8) if len(r) > 1 else None)
        elif kind == "tree":
            for n in sorted(os.listdir(r[0])):
                add_host(path.rstrip("/") + "/" + n, os.path.join(r[0], n))
        else:
            sys.exit("bad spec " + s)

    last = {p: i for i, (p, *_) in enumerate(ents)}
    ents = [e for i, e in enumerate(ents) if last[e[0]] == i or stat.S_ISDIR(e[1])]
    buf = bytearray()

    def rec(ino, name, mode, data, rdev, nlink):
        n = name.encode() + b"\0"
        h = "070701" + "".join("%08X" % v for v in (ino, mode, 0, 0, nlink, 0, len(data), 0, 0, rdev[0], rdev[1], len(n), 0))
        buf.extend(h.encode() + n)
        buf.extend(b"\0" * (-len(buf) % 4))
        buf.extend(data)
        buf.extend(b"\0" * (-len(buf) % 4))

    for i, (p, m, d, rd) in enumerate(ents, 1):
        rec(i, p, m, d, rd, 2 if stat.S_ISDIR(m) else 1)
    rec(0, "TRAILER!!!", 0, b"", (0, 0), 1)
    with open(out, "wb") as f, gzip.GzipFile("", "wb", 6, f, mtime=0) as z:
        z.write(bytes(buf))

main(sys.argv[1], sys.argv[2:])
