"""`python -m benchmarks [--json] [NAME ...]`: run benchmarks and print their tables."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

from benchmarks import append, cancel, model, slow, start, takeover, tasks
from benchmarks.figures import Report, machine
from benchmarks.gateway import comparison
from benchmarks.gateway.programs import NoCompiler
from benchmarks.stack import NotReady
from runcast_local.errors import NoStore

BENCHMARKS: dict[str, Callable[[], Report]] = {
    "start": start.run,
    "append": append.run,
    "gateway": comparison.run,
    "slow": slow.run,
    "cancel": cancel.run,
    "takeover": takeover.run,
    "tasks": tasks.run,
    "model": model.run,
}


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; none: all")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each case and bar")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("benchmarks: CPU and memory are read from /proc: expected Linux")
    names = arguments.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}: expected {', '.join(BENCHMARKS)}")
    if not arguments.json:
        print(f"# {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, Python {sys.version.split()[0]}\n")
    try:
        right = [_run(name, arguments.json) for name in names]
    except (NoStore, NoCompiler, NotReady, ConnectionError, TimeoutError) as error:
        sys.exit(f"benchmarks: {type(error).__name__}: {error}")
    sys.exit(0 if all(right) else "benchmarks: something was wrong, not slow: see the bars")


def _run(name: str, as_json: bool) -> bool:
    """Whether everything was correct, fast or not."""
    began = monotonic()
    report = BENCHMARKS[name]()
    report.notes.append(f"took {monotonic() - began:.0f} s")
    print(report.json_lines() if as_json else report.table(), flush=True)
    return all(bar.met for bar in report.bars if bar.correct)


if __name__ == "__main__":
    main()
