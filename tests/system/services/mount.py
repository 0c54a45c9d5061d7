"""mount.py FOLDER PROGRAM FLAG: a file system (fuse(4)) with one file, `program`, which is a copy of PROGRAM.

It prints `mounted`, or `refused` where that is not allowed, and answers until the file FLAG is there. From then on it reads
no request any more, like the server of a file system on a network that is gone.
"""
import ctypes
import os
import select
import struct
import sys
import time

folder, program, flag = sys.argv[1:]
content = open(program, "rb").read()
LOOKUP, GETATTR, OPEN, READ, STATFS, RELEASE, INIT, OPENDIR, ACCESS = 1, 3, 14, 15, 17, 18, 26, 27, 34
FORGET, BATCH_FORGET, INTERRUPT = 2, 42, 36
ENOENT, ENOSYS = 2, 38

device = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % device
if ctypes.CDLL(None).mount(b"x", folder.encode(), b"fuse", 0, options):
    print("refused", flush=True)
    sys.exit()
print("mounted", flush=True)


def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100755, len(content))
    return struct.pack("=6Q10I", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    """The answer, or the number of an error. Nothing is valid for longer than the question."""
    if opcode == INIT:
        return struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 12, 9, 65536, 1, 0, 0, *[0] * 8)
    if opcode == LOOKUP:
        entry = struct.pack("=4Q2I", 2, 0, 0, 0, 0, 0)
        return entry + attributes(2) if body.rstrip(b"\0") == b"program" else ENOENT
    if opcode == GETATTR:
        return struct.pack("=Q2I", 0, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("=Q2I", 0, 0, 0)
    if opcode == READ:
        _, offset, size = struct.unpack_from("=2QI", body)
        return content[offset : offset + size]
    if opcode == STATFS:
        return struct.pack("=5Q4I24x", 1, 0, 0, 1, 0, 4096, 255, 4096, 0)
    return b"" if opcode in (RELEASE, ACCESS) else ENOSYS


while not os.path.exists(flag):
    if not select.select([device], [], [], 0.05)[0]:
        continue
    request = os.read(device, 1 << 17)
    _, opcode, unique, node = struct.unpack_from("=2I2Q", request)
    if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
        continue
    told = answer(opcode, node, request[40:])
    error, told = (-told, b"") if isinstance(told, int) else (0, told)
    os.write(device, struct.pack("=IiQ", 16 + len(told), error, unique) + told)
time.sleep(90)
