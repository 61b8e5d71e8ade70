"""`python -m benchmarks.gateway`: the benchmark `gateway`, whole or a part of it."""

import argparse
import sys

from benchmarks.figures import machine
from benchmarks.gateway import comparison
from benchmarks.gateway.programs import NoCompiler
from benchmarks.gateway.workloads import NAMES
from runcast_local.errors import NoStore


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=comparison.ROUNDS, help="of every workload and system")
    parser.add_argument("--only", default=",".join(NAMES), help="workloads, separated by commas: %(default)s")
    parser.add_argument("--systems", default=",".join(comparison.SYSTEMS), help="as well: %(default)s")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run, case and bar")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("benchmarks: CPU and memory are read from /proc: expected Linux")
    workloads, systems = arguments.only.split(","), arguments.systems.split(",")
    if unknown := [name for name in workloads if name not in NAMES]:
        parser.error(f"no workload {', '.join(unknown)}: expected {', '.join(NAMES)}")
    if unknown := [name for name in systems if name not in comparison.SYSTEMS]:
        parser.error(f"no system {', '.join(unknown)}: expected {', '.join(comparison.SYSTEMS)}")
    if not arguments.json:
        print(f"# {machine()}, Python {sys.version.split()[0]}\n", flush=True)
    try:
        report = comparison.compare(
            [NAMES[name] for name in workloads],
            [comparison.SYSTEMS[name] for name in systems],
            arguments.rounds,
            print_runs=arguments.json,
        )
    except (NoStore, NoCompiler) as error:
        sys.exit(f"benchmarks: {type(error).__name__}: {error}")
    print(report.json_lines() if arguments.json else report.table(), flush=True)
    right = all(bar.met for bar in report.bars if bar.correct)
    sys.exit(0 if right else "benchmarks: something was wrong, not slow: see the bars")


if __name__ == "__main__":
    main()
