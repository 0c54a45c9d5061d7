"""An HTTP server on the listening socket that it was given as descriptor 3, the way of sd_listen_fds(3)."""
import http.server
import os
import socket


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from python\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if os.environ["LISTEN_PID"] != str(os.getpid()) or os.environ["LISTEN_FDS"] != "1":
    raise SystemExit("these sockets are not for us")
server = http.server.HTTPServer(("127.0.0.1", 0), Hello, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
