#!/usr/bin/env python3
"""CRIU, which stops where a test wants.

Passes on what CRIU and its engine say to each other. Where the file `halt` beside
this one names a stage, it stops there once: makes the file `halted`, with CRIU's
process id, and waits for the file `go`. A stage is one of those that CRIU tells, with
`!` the answer to it, or `done-dump` or `done-restore`: CRIU has done its work, and the
engine does not know yet.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time

REAL = "@CRIU@"
HERE = os.path.dirname(os.path.abspath(__file__))
STAGES = ("pre-dump", "query-ext-files", "post-dump", "pre-restore", "post-restore",
          "pre-resume", "post-resume")
# Numbers of `criu_req_type`.
DUMP, RESTORE, NOTIFY = 1, 2, 6


def file(name):
    return os.path.join(HERE, name)


def halt_at(stage):
    """Stops here if this is the stage."""
    try:
        with open(file("halt")) as wanted:
            if wanted.read() != stage:
                return
    except FileNotFoundError:
        return
    os.remove(file("halt"))
    with open(file("halted.new"), "w") as halted:
        halted.write(str(criu.pid))
    os.rename(file("halted.new"), file("halted"))
    while not os.path.exists(file("go")):
        time.sleep(.005)
    os.remove(file("go"))


def stage_of(message):
    kind = message[1] if message[:1] == b"\x08" else None
    if kind == NOTIFY:
        return next((stage for stage in STAGES if stage.encode() in message), None)
    return {DUMP: "done-dump", RESTORE: "done-restore"}.get(kind)


if sys.argv[1:2] != ["swrk"] or not os.path.exists(file("halt")):
    os.execv(REAL, [REAL] + sys.argv[1:])

engine = socket.socket(fileno=int(sys.argv[2]))
near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
# What else it is given is for it alone.
own = (0, 1, 2, engine.fileno(), near.fileno())
given = [int(fd) for fd in os.listdir("/proc/self/fd")]
# That of the folder is closed by now.
given = [fd for fd in given if fd not in own and os.path.exists(f"/proc/self/fd/{fd}")]
criu = subprocess.Popen([REAL, "swrk", str(far.fileno())], pass_fds=given)
for fd in given:
    os.close(fd)
far.detach()
told = None
try:
    while True:
        ready = select.select([engine, near], [], [])[0]
        one = near if near in ready else engine
        message = one.recv(1 << 16)
        if not message:
            break
        if one is near:
            told = stage_of(message)
            halt_at(told)
            engine.send(message)
        else:
            halt_at(f"{told}!")
            near.send(message)
except OSError:
    pass
near.close()
status = criu.wait()
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
sys.exit(status)
