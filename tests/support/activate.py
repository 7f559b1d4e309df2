#!/usr/bin/env python3
"""Stands in for systemd's socket activation: activate.py PROGRAM ARGUMENT...

Binds 127.0.0.1 on a free port, keeps the socket, and starts PROGRAM with it by systemd's protocol (LISTEN_FDS). Prints
the port, then the exit status of each run. A line on standard input restarts the program (SIGTERM, wait, start); the
end of standard input ends it.
"""
import os
import signal
import socket
import sys


def start(listener):
    pid = os.fork()
    if pid:
        return pid
    if listener.fileno() != 3:
        os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="smtp")
    os.execv(sys.argv[1], sys.argv[1:])


def stop(pid):
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(512)
print(listener.getsockname()[1], flush=True)
child = start(listener)
for _ in sys.stdin:
    stop(child)
    child = start(listener)
stop(child)
