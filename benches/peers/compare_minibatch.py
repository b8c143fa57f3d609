"""Mini-batch sharpness in burn-sharpness, JAX and PyTorch: one table per number of threads.

    python benches/peers/compare_minibatch.py --python VENV/bin/python --threads 1,2

Runs `benches/minibatch.rs`, `minibatch_jax.py` and `minibatch_torch.py` in turn like compare.py, at
the same weights and on the same batches, which the first of them writes. Ends in failure unless what
is compared found the same eigenvalues. `--jax-ways` and `--torch-ways` restrict the peers to the ways
that were fastest: minutes instead of hours at large batches.
"""

import statistics
import tempfile

import compare

TOLERANCE = 0.01  # of the residual, relative to the eigenvalue
MEANS_AGREE = 0.01
# A pair with a residual of 1% is off by less than this, unless it is not the top one. Then a batch is
# missed, as happens to about one in fifty trained ones in every program.
MISSED = 5e-3
MOST_MISSED = 0.25  # of the batches


def main():
    parser = compare.parser(__doc__, rounds=3, passes=2, batches="8,32,128")
    for framework in ("jax", "torch"):
        parser.add_argument(f"--{framework}-ways", help="names of ways, separated by commas")
    chosen = parser.parse_args()
    program, everything = chosen.program or compare.build("minibatch"), []
    with tempfile.TemporaryDirectory() as folder:
        for threads in (int(n) for n in chosen.threads.split(",")):
            reports = compare.run_passes(chosen, commands(chosen, program, threads, folder), threads)
            everything += reports
            compare.save(chosen, everything)
            compare.headline(chosen, reports, threads)
            table(reports)
            all_ways(reports)
            agree(reports)


def commands(chosen, program, threads, folder):
    common = ["--rounds", str(chosen.rounds), "--batches", chosen.batches, "--weights-dir", folder]

    def script(name, ways):
        return compare.script(chosen, name, threads, common + (["--variants", ways] if ways else []))

    return {"minibatch": [program, "--bench", *common],
            "minibatch_jax.py": script("minibatch_jax.py", chosen.jax_ways),
            "minibatch_torch.py": script("minibatch_torch.py", chosen.torch_ways)}


def keys(reports):
    return {(c["weights"], c["batch"]): None for r in reports for c in r["cases"]}


def of(reports, framework, key):
    """The case `key` of each report of this framework."""
    return compare.cases(reports, framework, weights=key[0], batch=key[1])


def found(reports, framework, key):
    """What each way found, which is the same in each report but for rounding."""
    return of(reports, framework, key)[0]["found"]


class Errors:
    """How far the λ_max of a way are from what burn-sharpness finds to a residual of 10⁻⁴."""

    def __init__(self, reports, key, way):
        tight = of(reports, "burn-sharpness", key)[0]["tight"]
        values = way["values"]
        each = [abs(a / b - 1) for a, b in zip(values, tight, strict=True)]
        self.residual, self.largest = way["residual"], max(each)
        self.mean = abs(sum(values) / sum(tight) - 1)
        self.missed, self.batches = sum(not e <= MISSED for e in each), len(each)

    def counts(self):
        """Whether the way did what is compared: the same rule for all programs."""
        return (self.residual <= TOLERANCE and self.mean <= MEANS_AGREE
                and self.missed <= MOST_MISSED * self.batches)


def right(reports, framework, key):
    """The ways that count."""
    ways = found(reports, framework, key)
    return {way for way in ways if Errors(reports, key, ways[way]).counts()}


def agree(reports):
    """Fails unless all that is compared found the same eigenvalues."""
    for key in keys(reports):
        for framework, needed in (("burn-sharpness", {"cold", "warm"}), ("jax", set()),
                                  ("torch", {"lobpcg"})):
            ways = right(reports, framework, key)
            if not ways or not needed & set(found(reports, framework, key)) <= ways:
                raise SystemExit(f"{framework}, {key}: λ_max disagree, see the table of all ways")


def seconds(reports, framework, key, way):
    return compare.median(of(reports, framework, key), [way]) / 1e3


def fastest(reports, framework, key):
    """Seconds and name of the way that counts and takes the least time; none, if none counts."""
    ways = right(reports, framework, key)
    return min(((seconds(reports, framework, key, way), way) for way in ways), default=(None, None))


def table(reports):
    columns = ["batch", "burn-sharpness", "again", "JAX", "PyTorch", "PyTorch, LOBPCG", "ours/JAX",
               "ours/PyTorch"]
    print(f"| weights | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for key in keys(reports):
        cold = seconds(reports, "burn-sharpness", key, "cold")
        (jax, jax_way), (torch, torch_way) = (fastest(reports, f, key) for f in ("jax", "torch"))
        cells = [cell(reports, "burn-sharpness", key, "cold"),
                 cell(reports, "burn-sharpness", key, "warm"),
                 f"{cell(reports, 'jax', key, jax_way)}: {jax_way}",
                 f"{cell(reports, 'torch', key, torch_way)}: {torch_way}",
                 cell(reports, "torch", key, "lobpcg"),
                 *(f"{cold / other:.2f}" if other else "none counts" for other in (jax, torch))]
        print(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    print("\nSeconds for 16 batches, in brackets the products; of JAX and PyTorch the fastest way "
          "that counts.\n")


def cell(reports, framework, key, way):
    """Seconds, with ≤ when they include compilation, and products; — for a way that was not run."""
    ways = found(reports, framework, key)
    if way not in ways:
        return "—"
    most = "≤ " if ways[way].get("compiles") else ""
    return f"{most}{seconds(reports, framework, key, way):.3g} [{ways[way]['hvps']}]"


def all_ways(reports):
    columns = ["framework", "way", "weights", "batch", "s [products]", "residual", "error",
               "error of the mean", "missed", "counts"]
    print(f"All ways:\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for framework in ("burn-sharpness", "jax", "torch"):
        for key in keys(reports):
            for way, numbers in found(reports, framework, key).items():
                e = Errors(reports, key, numbers)
                cells = [framework, way, *map(str, key), cell(reports, framework, key, way),
                         f"{e.residual:.1e}", f"{e.largest:.1e}", f"{e.mean:.1e}",
                         f"{e.missed} of {e.batches}", "yes" if e.counts() else "no"]
                print(f"| {' | '.join(cells)} |")
    print(f"\nError: the largest of a batch. Missed: batches off by more than {MISSED:.1%}. "
          "≤: one run, compilation included.\n")


if __name__ == "__main__":
    main()
