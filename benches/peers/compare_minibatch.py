"""Mini-batch sharpness in burn-sharpness, JAX and PyTorch: one table per number of threads.

    python benches/peers/compare_minibatch.py --python VENV/bin/python --threads 1,2

Runs `benches/minibatch.rs`, `minibatch_jax.py` and `minibatch_torch.py` in turn like compare.py, at
the same weights and on the same batches, which the first of them writes. Fails unless all programs
found the same eigenvalues.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import compare

# Eigenvalues to a residual of 1% are right to far better than this, unless a wrong one was found.
VALUES_AGREE = 0.02
TOLERANCE = 0.01


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=os.environ.get("PYTHON", sys.executable))
    parser.add_argument("--threads", default="1", help="numbers of threads, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per pass")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--retries", type=int, default=4, help="per run, on a loaded machine")
    parser.add_argument("--batches", default="8,32,128")
    parser.add_argument("--program", help="a built benchmark; without it cargo builds one")
    parser.add_argument("--json", help="file for every measured time")
    chosen = parser.parse_args()
    program, everything = chosen.program or compare.build("minibatch"), []
    with tempfile.TemporaryDirectory() as folder:
        for threads in (int(n) for n in chosen.threads.split(",")):
            reports = compare.run_passes(chosen, commands(chosen, program, threads, folder), threads)
            agree(reports)
            everything += reports
            compare.headline(chosen, reports, threads)
            table(reports)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(everything), encoding="utf-8")


def commands(chosen, program, threads, folder):
    common = ["--rounds", str(chosen.rounds), "--batches", chosen.batches, "--weights-dir", folder]
    return {"minibatch": [program, "--bench", *common],
            **{script: compare.script(chosen, script, threads, common)
               for script in ("minibatch_jax.py", "minibatch_torch.py")}}


def cases(reports):
    return {(c["weights"], c["batch"]): None for r in reports for c in r["cases"]}


def of(reports, framework, key):
    """The case `key` of each report of this framework."""
    return [c for r in reports if r["framework"] == framework
            for c in r["cases"] if (c["weights"], c["batch"]) == key]


def error(reports, key, found):
    """The largest relative distance of a λ_max to what burn-sharpness finds to 10⁻⁴."""
    tight = of(reports, "burn-sharpness", key)[0]["tight"]
    assert len(found["values"]) == len(tight)
    return max(abs(a / b - 1) for a, b in zip(found["values"], tight))


def right(reports, framework, key):
    """The ways that reached the tolerance and found the top eigenvalues."""
    ways = of(reports, framework, key)[0]["found"]
    return {way for way, found in ways.items() if found["residual"] <= TOLERANCE
            and error(reports, key, found) <= VALUES_AGREE}


def agree(reports):
    """Fails unless all that is compared found the same eigenvalues."""
    for key in cases(reports):
        for framework, needed in (("burn-sharpness", {"cold", "warm"}), ("jax", set()),
                                  ("torch", {"lobpcg"})):
            ways = right(reports, framework, key)
            if not ways or not needed <= ways:
                found = {way: (f["residual"], error(reports, key, f))
                         for way, f in of(reports, framework, key)[0]["found"].items()}
                raise SystemExit(f"{framework}, {key}: λ_max disagree: residual and error {found}")


def seconds(reports, framework, key, way):
    return statistics.median(t for c in of(reports, framework, key) for t in c["times_ms"][way]) / 1e3


def fastest(reports, framework, key):
    """Seconds and name of the right way that takes the least time."""
    ways = right(reports, framework, key)
    return min((seconds(reports, framework, key, way), way) for way in ways)


def table(reports):
    columns = ["batch", "burn-sharpness", "again", "JAX", "PyTorch", "PyTorch, LOBPCG", "ours/JAX",
               "ours/PyTorch"]
    print(f"| weights | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for key in cases(reports):
        cold, warm = (seconds(reports, "burn-sharpness", key, way) for way in ("cold", "warm"))
        (jax, jax_way), (torch, torch_way) = (fastest(reports, f, key) for f in ("jax", "torch"))
        lobpcg = seconds(reports, "torch", key, "lobpcg")
        cells = [cell(reports, "burn-sharpness", key, "cold", cold),
                 cell(reports, "burn-sharpness", key, "warm", warm),
                 f"{cell(reports, 'jax', key, jax_way, jax)}: {jax_way}",
                 f"{cell(reports, 'torch', key, torch_way, torch)}: {torch_way}",
                 cell(reports, "torch", key, "lobpcg", lobpcg),
                 f"{cold / jax:.2f}", f"{cold / torch:.2f}"]
        print(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    print("\nSeconds for 16 batches, in brackets the products; of JAX and PyTorch the fastest way "
          "that reaches a residual of 1%.\nAll ways:\n")
    print("| framework | way | weights | batch | s | products | residual | error |\n"
          f"|{'---|' * 8}")
    for framework in ("burn-sharpness", "jax", "torch"):
        for key in cases(reports):
            for way, found in of(reports, framework, key)[0]["found"].items():
                print(f"| {framework} | {way} | {key[0]} | {key[1]} "
                      f"| {seconds(reports, framework, key, way):.3g} | {found['hvps']} "
                      f"| {found['residual']:.1e} | {error(reports, key, found):.1e} |")
    print()


def cell(reports, framework, key, way, value):
    return f"{value:.3g} [{of(reports, framework, key)[0]['found'][way]['hvps']}]"


if __name__ == "__main__":
    main()
