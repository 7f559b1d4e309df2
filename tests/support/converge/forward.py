#!/usr/bin/env python3
"""forward.py ADDRESS PORT...: hands connections to ADDRESS:PORT over to 127.0.0.1:PORT, until it is ended."""
import socket
import sys
import threading


def pump(source, target):
    try:
        while octets := source.recv(65536):
            target.sendall(octets)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(listener, port):
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", port))
        except OSError:
            client.close()
            continue
        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


threads = []
for number in map(int, sys.argv[2:]):
    threads.append(threading.Thread(target=serve, args=(socket.create_server((sys.argv[1], number)), number)))
    threads[-1].start()
print("ready", flush=True)
