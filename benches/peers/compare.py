"""burn-sharpness beside JAX and PyTorch: one table per number of threads, in Markdown.

    python benches/peers/compare.py --python VENV/bin/python --threads 1,2

Runs `benches/ratios.rs`, `bench_jax.py` and `bench_torch.py` in turn, several passes, on the same
processors, and checks that all three computed the same loss, gradient and Hessian-vector product.
A run during which other processes took more than a tenth of its processors is repeated
(--retries); the quietest counts.

Needs nothing but Python's standard library; PYTHON or --python names the interpreter that has the
packages of requirements.txt.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# Rows of the table: framework, what is timed (a sum where there are two), what it is.
ROWS = [
    ("burn-sharpness", ["gradient"], "burn: gradient"),
    ("burn-sharpness", ["row-space product"], "burn-sharpness: one more product in row space"),
    ("burn-sharpness", ["tangent"], "burn-sharpness: one more product (tangent pass)"),
    ("burn-sharpness", ["primal", "tangent"], "burn-sharpness: first product (primal and tangent)"),
    ("jax", ["gradient"], "JAX: gradient"),
    ("jax", ["linearized product"], "JAX: one more product (linearized, residuals kept)"),
    ("jax", ["jvp of gradient"], "JAX: product from scratch (jvp of grad)"),
    ("torch", ["gradient"], "PyTorch: gradient"),
    ("torch", ["double backward, graph kept"], "PyTorch: one more product (graph kept)"),
    ("torch", ["double backward from scratch"], "PyTorch: product from scratch"),
    ("torch", ["func.jvp of gradient"], "PyTorch: product from scratch (func.jvp of grad)"),
]


def main():
    chosen = parser(__doc__, rounds=20, passes=3, batches="8,64,256,1024").parse_args()
    ratios, everything = chosen.program or build("ratios"), []
    for threads in (int(n) for n in chosen.threads.split(",")):
        reports = run_passes(chosen, commands(chosen, ratios, threads), threads)
        agree(reports, ("loss", "batch"))
        everything += reports
        headline(chosen, reports, threads)
        table(reports)
        save(chosen, everything)


def parser(description, rounds, passes, batches):
    """The options of every comparison, with its defaults."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--python", default=os.environ.get("PYTHON", sys.executable))
    parser.add_argument("--threads", default="1", help="numbers of threads, separated by commas")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds per pass")
    parser.add_argument("--passes", type=int, default=passes)
    parser.add_argument("--retries", type=int, default=4, help="per run, on a loaded machine")
    parser.add_argument("--batches", default=batches)
    parser.add_argument("--program", help="a built benchmark; without it cargo builds one")
    parser.add_argument("--json", help="file for every measured time")
    return parser


def save(chosen, reports):
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(reports), encoding="utf-8")


def headline(chosen, reports, threads):
    others = max(report["others"] for report in reports)
    print(f"\n{threads} thread(s), {chosen.passes} passes of {chosen.rounds} rounds, other "
          f"processes took up to {others:.0%} of the processors; {versions(reports)}\n")


def build(benchmark):
    """Builds a benchmark on all processors; returns the path of the program."""
    command = ["cargo", "bench", "--bench", benchmark, "--no-run",
               "--message-format", "json-render-diagnostics"]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]
    programs = [m["executable"] for m in messages
                if m.get("executable") and m["target"]["name"] == benchmark]
    return programs[-1]


def commands(chosen, ratios, threads):
    """The three programs, by name."""
    common = ["--rounds", str(chosen.rounds), "--batches", chosen.batches]
    return {"ratios": [ratios, "--bench", *common],
            **{name: script(chosen, name, threads, common)
               for name in ("bench_jax.py", "bench_torch.py")}}


def script(chosen, name, threads, options):
    python = [chosen.python, "-B", "-W", "ignore", str(HERE / name)]
    return [*python, "--threads", str(threads), *options]


def run_passes(chosen, commands, threads):
    """The reports of all passes; programs alternate, so that slow minutes hit all of them."""
    reports = []
    for turn in range(chosen.passes):
        for name, command in commands.items():
            tries = []
            while len(tries) <= chosen.retries and (not tries or tries[-1]["others"] > 0.1):
                tries.append(run(command, threads))
                print(f"pass {turn + 1}, {name}: others {tries[-1]['others']:.0%}", file=sys.stderr)
            reports.append(min(tries, key=lambda report: report["others"]))
    return reports


def run(command, threads):
    """One report, with the share of its processors that other processes took meanwhile."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    processors = pinned(threads)
    before = times(processors)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        subprocess.run([*command, "--json", str(file)], check=True, cwd=REPOSITORY,
                       stdout=subprocess.DEVNULL, env=environment,
                       preexec_fn=lambda: pin(processors))
        report = json.loads(file.read_text(encoding="utf-8"))
    wall, busy, own = (after - start for after, start in zip(times(processors), before))
    report["others"] = max(0.0, busy - own) / (wall * threads)
    return report


def times(processors):
    """Seconds: wall clock, busy time of these processors, time of our finished children."""
    children = os.times()
    own = children.children_user + children.children_system
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux: unknown
        return time.monotonic(), own, own
    names = {f"cpu{n}" for n in processors}
    ticks = 0
    for name, *fields in (line.split() for line in lines if line):
        if name in names:
            user, nice, system, _idle, _wait, irq, softirq, steal = (int(f) for f in fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own


def pinned(threads):
    """The last processors: the first ones serve more interrupts."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))[-threads:]
    return list(range(threads))


def pin(processors):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, processors)


def agree(reports, key):
    """Fails unless all programs computed the same numbers, up to float32 rounding.

    A sum of n terms rounds by about √n · 2⁻²⁴: 1.4·10⁻⁵ for the largest here, the 57600 pixels that
    a weight of a convolution sees. Norms are means over many such errors; 10⁻⁴ leaves room for the
    layers that follow each other.
    """
    seen = {}
    for report in reports:
        for case in report["cases"]:
            name = tuple(case[k] for k in key)
            first = seen.setdefault(name, case["check"])
            errors = [abs(a - b) / abs(b) for a, b in zip(case["check"], first, strict=True)]
            if not max(errors) <= 1e-4:
                raise SystemExit(f"{report['framework']} measures something else: {name}: "
                                 f"{case['check']} instead of {first}")


def cases(reports, framework, **key):
    """This case of each report of this framework."""
    return [case for report in reports if report["framework"] == framework
            for case in report["cases"] if all(case[k] == v for k, v in key.items())]


def median(cases, parts):
    """Of the milliseconds of these parts together."""
    return statistics.median(sum(times) for case in cases for times in rounds(case, parts))


def ratio(cases, parts, to):
    """Median over rounds of the ratio inside one round."""
    return statistics.median(sum(times) / gradient for case in cases
                             for times, gradient in zip(rounds(case, parts), case["times_ms"][to]))


def rounds(case, parts):
    return zip(*(case["times_ms"][part] for part in parts))


def table(reports):
    batches = sorted({case["batch"] for report in reports for case in report["cases"]})
    for loss in ("cross-entropy", "mse"):
        print(f"| {loss} | " + " | ".join(f"batch {b}" for b in batches) + " |")
        print("|---|" + "---|" * len(batches))
        for framework, parts, name in ROWS:
            found = (cases(reports, framework, loss=loss, batch=b) for b in batches)
            print(f"| {name} | " + " | ".join(cell(c, parts) for c in found) + " |")
        print()
        for batch in batches:
            print(f"- ours/JAX linearized, batch {batch}: {to_jax(reports, loss, batch)}")
        print()


def cell(cases, parts):
    """Median ms and, in brackets, the median over rounds of the ratio to that round's gradient."""
    milliseconds = f"{median(cases, parts):.3g}"
    return milliseconds if parts == ["gradient"] else (
        f"{milliseconds} [{ratio(cases, parts, 'gradient'):.2f}]")


def to_jax(reports, loss, batch):
    """Our products over JAX's fastest, which has all that is independent of the vector computed."""
    ours, jax = (cases(reports, f, loss=loss, batch=batch) for f in ("burn-sharpness", "jax"))
    row_space, dense = (median(ours, [part]) / median(jax, ["linearized product"])
                        for part in ("row-space product", "tangent"))
    return f"{row_space:.2f} in row space, {dense:.2f} dense"


def versions(reports):
    found = {report["framework"]: report["version"] for report in reports}
    return ", ".join(f"{name} {version}" for name, version in found.items())


if __name__ == "__main__":
    main()
