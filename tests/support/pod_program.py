"""Which program do test pods run? A small HTTP server that does what it is told.

It imports little, because many of it start on a small machine.

    pod_program.py PORT      serve on $POD_IP
    GET /ready /live         200, or 503 after GET /fail/ready, /fail/live; /mend/... undoes it
    GET /env/NAME            the variable
    GET /file/NAME/KEY       the file KEY in the folder that variable NAME holds
    GET /fork                start a child that leaves the process group; its process id

Words behind the port: `stubborn` ignores SIGTERM, `fail=ready` begins with /ready at 503,
`note=TEXT` appends a line to $NOTES/notes when it starts and when SIGTERM comes.
"""

# ruff: noqa: PTH123, T201  # pathlib costs as much as all the rest; the log is a product here
import os
import signal
import socket
import sys
import time


def answer(path: str, failing: set[str]) -> tuple[int, str]:
    parts = path.strip("/").split("/")
    match parts:
        case ["fail", what]:
            failing.add(what)
        case ["mend", what]:
            failing.discard(what)
        case ["env", name]:
            return 200, os.environ.get(name, "")
        case ["file", name, *key]:
            with open("/".join([os.environ[name], *key])) as file:
                return 200, file.read()
        case ["fork"]:
            return 200, str(fork())
        case [what]:
            return (503 if what in failing else 200), what
        case _:
            return 404, ""
    return 200, ""


def note(text: str) -> None:
    with open(os.environ["NOTES"] + "/notes", "a") as file:
        file.write(text + "\n")


def note_life(name: str) -> None:
    def end(_number: int, _frame: object) -> None:
        note(f"{name} ended")
        os._exit(0)

    note(f"{name} started")
    signal.signal(signal.SIGTERM, end)


def fork() -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.closerange(3, 64)
    # without exec the environment of the process is still that of its container
    while True:
        time.sleep(60)


def main() -> None:
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for word in sys.argv[2:]:
        name, _, value = word.partition("=")
        if name == "note":
            note_life(value)
    listener = socket.create_server((os.environ["POD_IP"], int(sys.argv[1])), backlog=64)
    print("listening", flush=True)
    failing = {word.removeprefix("fail=") for word in sys.argv if word.startswith("fail=")}
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                request = connection.recv(65536).split(b" ")
                status, text = (
                    answer(request[1].decode(), failing) if len(request) > 1 else (400, "")
                )
                connection.sendall(
                    f"HTTP/1.1 {status} x\r\nContent-Length: {len(text.encode())}\r\n"
                    f"Connection: close\r\n\r\n{text}".encode()
                )
            except OSError:
                continue


main()
