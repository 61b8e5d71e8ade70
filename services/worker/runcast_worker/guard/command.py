"""From a fork of the guard to the command: its session, its limits, what it may no longer do."""

import contextlib
import errno
import fcntl
import os
import resource
import signal
import termios

from runcast_worker.guard import kernel, landlock, seccomp
from runcast_worker.guard.orders import Orders, given

NICE = 5
"""A command gives way to the worker and to its guard."""
OPEN_FILES = 1024
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "shm"))
"""Not /dev/pts, where the terminals of other sessions' commands are too."""
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - commands expect them
IGNORED = tuple(getattr(signal, f"SIG{name}") for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM"))
"""By the guard, which only the worker ends."""


def start(orders: Orders, guard: int) -> int:
    """Fork it; returns its process id once it runs. Raises OSError where it could not be started."""
    read_end, write_end = os.pipe()
    score = _oom_score()
    # Where the machine runs out of memory, the kernel ends the command first: a child inherits the score.
    _set(score, b"1000")
    kernel.undumpable()  # the command too, until it is a program of its own
    pid = os.fork()
    if pid == 0:
        try:
            argv, variables = _program(orders)
            _confine(orders, guard)
            os.execvpe(argv[0], argv, variables)  # noqa: S606 - no shell is the point
        except OSError as error:
            os.write(write_end, f"{error.errno} {os.strerror(error.errno or 0)}".encode())
        except Exception as error:  # a limit that is no number for the kernel
            os.write(write_end, f"{errno.EINVAL} {error!r}".replace("\n", " ")[:500].encode(errors="replace"))
        finally:
            os._exit(127)
    _set(score, b"0")
    os.close(write_end)
    with os.fdopen(read_end, "rb") as said:
        failed = said.read()
    if failed:
        os.waitpid(pid, 0)
        number, _, words = failed.decode().partition(" ")
        raise OSError(int(number), words)
    return pid


def _program(orders: Orders) -> tuple[tuple[str, ...], dict[bytes, bytes]]:
    """What to become: its words and its environment."""
    variables = given(os.environb)
    if not orders.confined:
        return orders.argv, variables
    # bubblewrap itself is outside the sandbox: it gets no variable of an agent's, and reads what to set for the command
    # from a file without a name, since others can read a command line.
    options = os.memfd_create("environment", 0)
    with os.fdopen(options, "wb", closefd=False) as file:
        file.writelines(b"--setenv\0%b\0%b\0" % variable for variable in variables.items())
    os.lseek(options, 0, os.SEEK_SET)
    return (orders.argv[0], "--args", str(options), *orders.argv[1:]), {}


def _oom_score() -> int | None:
    """Opened as long as we may."""
    try:
        return os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _set(score: int | None, value: bytes) -> None:
    if score is not None:
        with contextlib.suppress(OSError):
            os.pwrite(score, value, 0)


def _confine(orders: Orders, guard: int) -> None:
    os.setsid()
    if orders.tty:
        fcntl.ioctl(1, termios.TIOCSCTTY, 0)
        os.dup2(1, 0)
    else:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(127)  # it was killed before it could be died with
    for number in (*IGNORED, signal.SIGPIPE, signal.SIGXFSZ):  # the last two Python ignores
        signal.signal(number, signal.SIG_DFL)
    os.nice(NICE)
    _limit(orders)
    if orders.confined:
        return
    kernel.no_new_privileges()
    terminal = (os.ttyname(1),) if orders.tty else ()
    landlock.restrict((os.getcwd(), *TEMPORARY, *DEVICES, *terminal), orders.network)
    kernel.drop_capabilities()
    seccomp.restrict(orders.network)


def _limit(orders: Orders) -> None:
    # Not RLIMIT_AS: V8 and Go reserve address space that they never use.
    _lower(resource.RLIMIT_DATA, orders.memory)
    _lower(resource.RLIMIT_FSIZE, orders.file)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, orders.cpu_s, orders.cpu_s + 1)
    if (threads := _threads()) and os.getuid():
        # Counts all threads of the user; only what stands behind the guard's own count. Root is exempt from it.
        _lower(resource.RLIMIT_NPROC, threads + 8 * orders.processes + 1024)


def _lower(what: int, soft: int, hard: int | None = None) -> None:
    _, now = resource.getrlimit(what)
    hard = soft if hard is None else hard
    if now != resource.RLIM_INFINITY:
        soft, hard = min(soft, now), min(hard, now)
    resource.setrlimit(what, (soft, hard))


def _threads() -> int:
    """On the whole machine; 0: not known."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0
