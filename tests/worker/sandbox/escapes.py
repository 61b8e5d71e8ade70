"""What a command may try, and what comes of it in each tier. docs/sandbox.md shows this table (a test holds it).

A command that gets out says ESCAPED.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["closed", "open", "memory", "processes", "disk", "cpu", "guard", "ends with the call"]


@dataclass(frozen=True)
class Escape:
    """`command`: for /bin/sh; {name} is filled in. `program`: for Python, instead. `landlock`: the version that the
    outcome in the reduced tier needs; `filter`: whether it needs the filter of system calls; without, it is open."""

    name: str
    bubblewrap: Outcome
    reduced: Outcome
    command: str = ""
    program: str = ""
    landlock: int = 0
    filter: bool = False
    policy: dict[str, Any] = field(default_factory=dict)


CONNECT = """
import socket, sys
s = socket.socket({family}); s.settimeout(0.5)
try: s.connect({address}); s.send(b"x"); s.recv(9); print("ESCAPED")
except OSError as error: print(error)
"""
FAST_OPEN = """
import socket
try:
    s = socket.socket(); s.sendto(b"x", 0x20000000, ("127.0.0.1", {port})); s.settimeout(0.5)
    if s.recv(9): print("ESCAPED")
except OSError as error: print(error)
"""
LIMIT = """
import resource
try: resource.prlimit({worker}, resource.RLIMIT_NOFILE, (0, 0)); print("ESCAPED")
except OSError as error: print(error)
"""
LIMIT_GUARD = """
import os, resource, time
guard = os.getppid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
os.wait()
try: resource.prlimit(guard, resource.RLIMIT_NOFILE, (0, 0)); time.sleep(2)
except OSError as error: print(error)
"""
LINKS = """
import os, time
for n in range(60_000):
    if n % 30_000 == 0: open("f" + str(n), "w").close(); source = "f" + str(n)
    os.link(source, "l" + str(n))
with open("big", "wb") as file: file.write(bytes(6_000_000))
for _ in range(60):
    if os.fork() == 0: time.sleep(4); os._exit(0)
time.sleep(2)
print("ESCAPED")
"""
THREADS = """
import threading, time
threading.stack_size(32768)
for _ in range(3000): threading.Thread(target=time.sleep, args=(4,), daemon=True).start()
time.sleep(1)
print("ESCAPED")
"""
PRIORITY = """
import os
for attempt in (
    lambda: os.sched_setscheduler({worker}, os.SCHED_IDLE, os.sched_param(0)),
    lambda: os.sched_setaffinity({worker}, {{0}}),
    lambda: os.setpriority(os.PRIO_PROCESS, {worker}, 19),
):
    try: attempt(); print("ESCAPED")
    except OSError as error: print(error)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
os.wait()
"""

# fmt: off
ESCAPES = (
    # --- to live on -------------------------------------------------------------------------------------------------
    Escape("a setsid daemon", "closed", "closed", "setsid sleep 300 & exit 0"),
    Escape("a double fork with setsid", "closed", "closed", program=DAEMON),
    Escape("nohup", "closed", "closed", "nohup sleep 300 >/dev/null 2>&1 & exit 0"),
    Escape(
        "an empty environment and another folder",
        "closed",
        "closed",
        "cd /; setsid env -i sh -c 'sleep 300; :' {mark} & exit 0",
    ),
    Escape("ignoring SIGTERM", "ends with the call", "ends with the call", "trap '' TERM; while :; do sleep 0.1; done"),
    Escape("stopping itself", "ends with the call", "ends with the call", "kill -STOP $$"),
    # --- to take everything -----------------------------------------------------------------------------------------
    Escape("a fork bomb", "processes", "processes", "f() {{ f | f & }}; f; sleep 10"),
    Escape("a fork bomb of daemons", "processes", "processes", "while :; do setsid sleep 300 & done"),
    Escape("sixty processes behind many links", "processes", "processes", program=LINKS, policy={"cpu_s": 20}),
    Escape("threads without end", "processes", "processes", program=THREADS),
    Escape("10 GB at once", "closed", "closed", program="x = bytearray(10**10); print('ESCAPED')"),
    Escape(
        "100 MB in each of eight processes",
        "memory",
        "memory",
        program="import os, time\nfor _ in range(3): os.fork()\nx = b'x' * 10**8\ntime.sleep(10)\nprint('ESCAPED')",
    ),
    Escape("one big file", "closed", "closed", "head -c 20000000 /dev/zero > big && echo ESCAPED"),
    Escape(
        "many files",
        "disk",
        "disk",
        "i=0; while :; do i=$((i+1)); head -c 4000000 /dev/zero > f$i; sleep 0.05; done",
    ),
    Escape(
        "a million empty files",
        "disk",
        "disk",
        program="import os\nfor n in range(1_000_000): os.close(os.open('f' + str(n), os.O_CREAT))\nprint('ESCAPED')",
        policy={"cpu_s": 20, "disk_mb": 4},
    ),
    Escape(
        "files below 300 folders",
        "disk",
        "disk",
        program="import os, time\nfor n in range(300): os.mkdir('d'); os.chdir('d')\ntime.sleep(0.3)\n"
        "for n in range(30): open(str(n), 'w').write('x' * 4_000_000); time.sleep(0.05)\nprint('ESCAPED')",
    ),
    Escape(
        "files in a folder that cannot be listed",
        "disk",
        "disk",
        "mkdir d; chmod 300 d; cd d; i=0; while :; do i=$((i+1)); head -c 4000000 /dev/zero > f$i; sleep 0.05; done",
    ),
    Escape(
        "a full /tmp",
        "closed",
        "open",
        "cd /tmp; i=0; while [ $i -lt 10 ]; do i=$((i+1)); head -c 4000000 /dev/zero > {mark}.$i || exit 1; done; "
        "rm -f {mark}.*; echo ESCAPED",
    ),
    Escape(
        "open files without end",
        "closed",
        "closed",
        program="import os\nfor n in range(100_000): os.open('/dev/null', os.O_RDONLY)\nprint('ESCAPED')",
    ),
    Escape("the processor for itself", "cpu", "cpu", "while :; do :; done"),
    # --- to see what is not its own ---------------------------------------------------------------------------------
    Escape("the environment", "closed", "closed", "env | grep -q CANARY && echo ESCAPED"),
    Escape(
        "/proc/1/environ",
        "closed",
        "closed",
        r"tr '\0' '\n' < /proc/1/environ | grep -qvE '^(PATH|LANG|HOME|TMPDIR|PWD)=' && echo ESCAPED",
        landlock=1,
    ),
    Escape("the worker's environ", "closed", "closed", "grep -q CANARY /proc/{worker}/environ && echo ESCAPED"),
    Escape("the worker's memory", "closed", "closed", "head -c 0 /proc/{worker}/mem && echo ESCAPED"),
    Escape("the worker's descriptors", "closed", "closed", "readlink /proc/{worker}/fd/0 && echo ESCAPED"),
    Escape("a file beside the workspace", "closed", "open", "grep secret ../secret.txt && echo ESCAPED"),
    Escape("a symlink out", "closed", "open", "ln -s ../secret.txt way && cat way && echo ESCAPED"),
    Escape("the names beside the workspace", "closed", "open", "ls .. | grep -q secret && echo ESCAPED"),
    # --- to change what is not its own ------------------------------------------------------------------------------
    Escape("writing to /etc", "closed", "closed", "echo x > /etc/{mark} && echo ESCAPED", landlock=1),
    Escape("writing to /usr", "closed", "closed", "echo x > /usr/{mark} && echo ESCAPED", landlock=1),
    Escape(
        "the kernel's settings",
        "closed",
        "closed",
        landlock=1,
        program="import os\nos.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)\nprint('ESCAPED')",
    ),
    Escape(
        "being the last that a full memory ends",
        "closed",
        "closed",
        "echo 999 > /proc/self/oom_score_adj && echo ESCAPED",
        landlock=1,
    ),
    Escape("writing beside the workspace", "closed", "closed", "echo x > ../new.txt && echo ESCAPED", landlock=1),
    Escape(
        "the mode or the times of a file beside the workspace",
        "closed",
        "open",
        "chmod 640 ../secret.txt && touch -c -d 2001-01-01 ../secret.txt && echo ESCAPED",
    ),
    Escape(
        "deleting the workspace",
        "closed",
        "closed",
        'cd /; rm -rf "$HOME"; test -d "$HOME" || echo ESCAPED',
        landlock=1,
    ),
    Escape("mount", "closed", "closed", "mount -t tmpfs none /mnt && echo ESCAPED"),
    Escape("unshare", "closed", "closed", "unshare -m true && echo ESCAPED"),
    Escape("chroot", "closed", "closed", "chroot / /bin/true && echo ESCAPED"),
    Escape("mknod", "closed", "closed", "mknod disk b 254 0 && echo ESCAPED"),
    # --- to reach others --------------------------------------------------------------------------------------------
    Escape(
        "the store's port",
        "closed",
        "closed",
        filter=True,
        program=CONNECT.format(family="socket.AF_INET", address='("127.0.0.1", {port})'),
    ),
    Escape(
        "the metadata address",
        "closed",
        "closed",
        filter=True,
        program=CONNECT.format(family="socket.AF_INET", address='("169.254.169.254", 80)'),
    ),
    Escape(
        "the store's port, by multipath TCP",
        "closed",
        "closed",
        filter=True,
        program=CONNECT.format(family="socket.AF_INET, socket.SOCK_STREAM, 262", address='("127.0.0.1", {port})'),
    ),
    Escape(
        "the store's port, by sending without connecting",
        "closed",
        "closed",
        filter=True,
        program=FAST_OPEN,
    ),
    Escape(
        "UDP",
        "closed",
        "closed",
        filter=True,
        program=CONNECT.format(family="socket.AF_INET, socket.SOCK_DGRAM", address='("127.0.0.1", {udp})'),
    ),
    Escape(
        "a unix socket of the host",
        "closed",
        "open",
        program=CONNECT.format(family="socket.AF_UNIX", address='"../socket"'),
    ),
    Escape(
        "an abstract socket of the host",
        "closed",
        "closed",
        landlock=6,
        program=CONNECT.format(family="socket.AF_UNIX", address=r'"\0{mark}"'),
    ),
    Escape("writing to another command's terminal", "closed", "closed", "echo x > {pts} && echo ESCAPED", landlock=1),
    Escape("setting another command's terminal", "closed", "closed", "stty -F {pts} -echo && echo ESCAPED", landlock=5),
    Escape("the worker's terminal", "closed", "closed", "exec 3< /dev/tty && echo ESCAPED"),
    # --- to strike at those above -----------------------------------------------------------------------------------
    Escape("the worker's limits", "closed", "closed", program=LIMIT, filter=True),
    Escape("its guard's limits", "closed", "closed", program=LIMIT_GUARD, filter=True),
    Escape("the worker's priority", "closed", "closed", program=PRIORITY, filter=True),
    Escape("killing its parent", "closed", "closed", "{leave_parent} kill -9 $PPID && echo ESCAPED", landlock=6),
    Escape("killing the worker", "closed", "closed", "kill -9 {worker} && echo ESCAPED", landlock=6),
    # Only where it cannot reach anybody: without Landlock it would be the whole machine of whoever runs this as root.
    Escape("killing everybody", "closed", "closed", "{alone} || {{ echo ESCAPED; exit; }}; kill -9 -1", landlock=6),
    Escape(
        "tracing the worker",
        "closed",
        "closed",
        program="""
import ctypes
if ctypes.CDLL(None).ptrace(16, {worker}, 0, 0) == 0: print("ESCAPED")
""",
    ),
    Escape(
        "writing to what its parent reads",
        "closed",
        "closed",
        'for f in /proc/$PPID/fd/*; do echo "ended 0 - 0" > $f; done 2>/dev/null; exit 7',
    ),
    # --- to confuse -------------------------------------------------------------------------------------------------
    Escape(
        "a file name with newlines",
        "closed",
        "closed",
        r"""touch "$(printf 'a\nb c (x')"; cp /bin/sleep "$(printf 'x) R 1\n9')"; ./x* 0.2""",
    ),
    Escape("yes", "ends with the call", "ends with the call", "yes"),
    Escape("a line without end", "ends with the call", "ends with the call", r"yes | tr -d '\n'"),
)
# fmt: on


def table() -> list[str]:
    """The rows of docs/sandbox.md."""
    return [f"| {escape.name} | {shown(escape.bubblewrap)} | {_reduced(escape)} |" for escape in ESCAPES]


def shown(outcome: Outcome) -> str:
    if outcome in ("closed", "ends with the call"):
        return outcome
    return "**open**" if outcome == "open" else f"killed: `{outcome}`"


def _reduced(escape: Escape) -> str:
    needs = f", Landlock {escape.landlock}" if escape.landlock else ", filter" if escape.filter else ""
    return shown(escape.reduced) + needs
