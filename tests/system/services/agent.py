"""A key agent on a unix socket that it was given; it answers with the user id of its client."""
import os
import socket
import struct

if os.environ["LISTEN_PID"] != str(os.getpid()):
    raise SystemExit("this socket is not for us")
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    connection.sendall(b"uid %d\n" % struct.unpack("3i", credentials)[1])
    connection.close()
