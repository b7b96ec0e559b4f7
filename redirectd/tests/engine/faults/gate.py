"""A way to redirectd that a test can close at the commit of a move.

Passes requests on to the socket REAL and answers back. The next answer to a commit is
held back if the file `close` is in the folder: the file `closed` is made, and the file
`open` waited for. The move is committed then, and whoever leads it does not know.
"""

import contextlib
import os
import socket
import sys
import threading
import time

REAL, OURS, FOLDER = sys.argv[1:4]


def file(name):
    return os.path.join(FOLDER, name)


def hold():
    if not os.path.exists(file("close")):
        return
    os.remove(file("close"))
    open(file("closed"), "w").close()
    while not os.path.exists(file("open")):
        time.sleep(.005)
    os.remove(file("open"))


def pump(one, other):
    try:
        while some := one.recv(1 << 16):
            other.sendall(some)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(near):
    try:
        far = socket.socket(socket.AF_UNIX)
        far.connect(REAL)
        first = near.recv(1 << 16)
        far.sendall(first)
        threading.Thread(target=pump, args=(near, far), daemon=True).start()
        answer = far.recv(1 << 16)
        if b"/commit " in first.split(b"\r\n")[0]:
            hold()
        near.sendall(answer)
        pump(far, near)
    except OSError:
        pass
    # Closing it is not enough for the other end to hear of it: the other thread reads it.
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_RDWR)
    near.close()


listener = socket.socket(socket.AF_UNIX)
listener.bind(OURS)
listener.listen(16)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
