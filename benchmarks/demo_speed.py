"""`skillinfer-bayes demo`, second run on a machine, against importing its sampler.

The second run takes the fit that the first one kept; `--refit` shows what it costs to fit again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from benchmarks._common import (
    ROOT,
    alternate,
    median,
    print_machine,
    print_table,
    print_verdict,
)

MAX_RATIO = 2.5
RUN = "from skillinfer_bayes.cli import main; main({arguments}, standalone_mode=False)"
DEMO = ["-c", RUN.format(arguments=["demo", "--seed", "1", "--quiet"])]
REFIT = ["-c", RUN.format(arguments=["demo", "--seed", "1", "--refit", "--quiet"])]
IMPORTS = ["-c", "import pymc, nutpie"]


def breakdown() -> list[list[object]]:
    """Seconds of each step, as the command reports them."""
    demo = ["-c", RUN.format(arguments=["demo", "--seed", "1", "--refit"])]
    done = subprocess.run(
        [sys.executable, *demo],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rsplit(maxsplit=2) for line in done.stderr.splitlines() if line.endswith(" s")]
    return [[parts[0], float(parts[1])] for parts in lines if len(parts) == 3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print_machine()
    demo, imports = alternate(DEMO, IMPORTS, runs)  # its first run, untimed, fills the caches
    print(f"the tutorial's history, 4 chains, 1000 + 1000; {runs} runs in turns")
    print_table(
        [
            [name, median([one.wall for one in group]), median([one.cpu for one in group])]
            for name, group in (("skillinfer-bayes demo", demo), ("import pymc, nutpie", imports))
        ],
        ["process", "wall s", "cpu s"],
    )
    wall = median([mine.wall / other.wall for mine, other in zip(demo, imports, strict=True)])
    print_verdict("second run, the kept fit: wall time over the imports'", wall, MAX_RATIO)
    refit, imports = alternate(REFIT, IMPORTS, 2)
    wall = median([mine.wall / other.wall for mine, other in zip(refit, imports, strict=True)])
    print_verdict("fitting again (--refit): wall time over the imports'", wall, MAX_RATIO)
    print_table(breakdown(), ["steps of one --refit", "wall s"])


if __name__ == "__main__":
    main()
