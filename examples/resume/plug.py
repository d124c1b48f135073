"""Serves the page, and is the plug between it and the gateway.

    plug.py PAGES_PORT PLUG_PORT INBOUND_PORT

The plug passes connections on to the gateway. `POST /plug/out` at the port of the page breaks them and refuses new
ones, until `POST /plug/in`.
"""

import json
import socket
import struct
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Plug:
    """Connections to the gateway, which can be pulled out."""

    def __init__(self, port, gateway):
        self.gateway = gateway
        self.is_out = False
        self.open = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port))

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client):
        try:
            gateway = socket.create_connection(("127.0.0.1", self.gateway))
        except OSError:
            return reset(client)
        with self.lock:
            if self.is_out:
                return reset(client), reset(gateway)
            self.open.add((client, gateway))
        back = threading.Thread(target=pump, args=(gateway, client), daemon=True)
        back.start()
        pump(client, gateway)
        back.join()
        with self.lock:
            self.open.discard((client, gateway))
        client.close()
        gateway.close()

    def pull(self, out):
        with self.lock:
            self.is_out = out
            for pair in self.open if out else ():
                for end in pair:
                    # Both threads that read from it return.
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass  # It is closed already.


def reset(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def pump(source, target):
    """Passes bytes on until one side is closed."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in source, target:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It is closed already.


def main():
    pages, port, gateway = map(int, sys.argv[1:])
    plug = Plug(port, gateway)
    threading.Thread(target=plug.serve, daemon=True).start()

    class Page(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=Path(__file__).parent)

        def do_GET(self):
            if self.path != "/config.json":
                return super().do_GET()
            config = {"plug": f"http://localhost:{port}", "gateway": f"http://localhost:{gateway}"}
            self.answer(200, json.dumps(config).encode())

        def do_POST(self):
            if self.path not in ("/plug/out", "/plug/in"):
                return self.answer(404)
            plug.pull(self.path == "/plug/out")
            self.answer(204)

        def answer(self, status, body=b""):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", pages), Page).serve_forever()


main()
