"""From a saved population to a prompt in a fresh process, against importing its table libraries."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks._common import alternate, median, print_machine, print_table, print_verdict
from skillinfer_bayes.testing import fake_population, simulate_history

MAX_RATIO = 2.0
UNWANTED = ("pymc", "pytensor", "nutpie", "numba", "arviz", "matplotlib", "openai")
PROGRAM = """
import sys
from skillinfer_bayes import Population, Task, build_prompt
population = Population.load({path!r})
profile = population.profile("new").observe_many({{"skill_0": 0.8, "skill_1": 0.7}})
task = Task({{"skill_2": 1.0, "skill_3": 0.5}}, "Prove a lemma")
print(build_prompt(task, {{"new": profile}}, {{"new": {{"cost_per_1k": 0.005}}}}))
loaded = [name for name in {unwanted!r} if name in sys.modules]
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "population.nc")
        fake_population(simulate_history(40, 6).scores, chains=4, draws=1000).save(path)
        program = PROGRAM.format(path=str(path), unwanted=UNWANTED)
        ours, imports = alternate(["-c", program], ["-c", "import pandas, xarray"], runs)
    print(f"4,000 draws, 6 skills; {runs} runs in turns; not imported: {', '.join(UNWANTED)}")
    print_table(
        [
            [name, median([one.wall for one in group]), median([one.cpu for one in group])]
            for name, group in (("load, profile, prompt", ours), ("import pandas, xarray", imports))
        ],
        ["process", "wall s", "cpu s"],
    )
    pairs = list(zip(ours, imports, strict=True))
    cpu = median([mine.cpu / other.cpu for mine, other in pairs])
    print(f"median of the pairs' ratios, processor time: {cpu:.2f}")
    wall = median([mine.wall / other.wall for mine, other in pairs])
    print_verdict("median of the pairs' ratios, wall time", wall, MAX_RATIO)


if __name__ == "__main__":
    main()
