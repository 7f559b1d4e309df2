#!/usr/bin/env python3
"""Stands in for systemd's socket activation: activate.py SOCKET PROGRAM ARGUMENT...

Binds 127.0.0.1 on a free port and the Unix socket SOCKET, keeps both, and starts PROGRAM with them by systemd's protocol
(LISTEN_FDS, LISTEN_FDNAMES). Prints the port, then the exit status of each run. A line on standard input restarts the program (SIGTERM, wait, start); the
end of standard input ends it.
"""
import os
import signal
import socket
import sys


def start(*listeners):
    pid = os.fork()
    if pid:
        return pid
    # Out of the way first, so that no copy lands on an original.
    copies = [os.dup2(listener.fileno(), 100 + nth) for nth, listener in enumerate(listeners)]
    for nth, copy in enumerate(copies):
        os.dup2(copy, 3 + nth, inheritable=True)
    os.environ.update(LISTEN_FDS=str(len(copies)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="smtp:sendmail")
    os.execv(sys.argv[2], sys.argv[2:])


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
local = socket.socket(socket.AF_UNIX)
local.bind(sys.argv[1])
local.listen(512)
print(listener.getsockname()[1], flush=True)
child = start(listener, local)
for _ in sys.stdin:
    stop(child)
    child = start(listener, local)
stop(child)
