"""``python -m bench``: measures, and says what it found.

Progress goes to standard error; the table and then one line of JSON a figure
go to standard output, and with a plot into a folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import report
from bench.certificate import make_certificate
from bench.errors import BenchError
from bench.figures import Figure
from bench.machine import caption, machine
from bench.measurements import Measurement, measurements, statistics_of, warm_up
from bench.plot import svg
from bench.processes import ROOT, Backend
from bench.scale import FULL, QUICK, Scale
from bench.subjects import SUBJECTS, Ground, Subject, missing
from tools.lab.errors import LabError

OUTPUT = ROOT / ".build/bench"
PAGE = ROOT / "docs/performance.rst"
PICTURE = ROOT / "docs/images/bench.svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status."""
    options = _options(arguments)
    scale = QUICK if options.quick else FULL
    chosen = [each for each in measurements(scale) if each.name in options.only]
    facts = machine()
    started = time.monotonic()
    try:
        with _subjects(scale, options.subjects) as subjects:
            figures = [
                figure for each in chosen for figure in _measure(each, subjects, scale, started)
            ]
    except (BenchError, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    _say(started, "done")

    rows = report.table(figures)
    lines = report.as_json_lines(figures, facts)
    print(f"{caption(facts)}\nmedian of the rounds (lowest-highest)\n")
    print(f"{report.as_text(rows)}\n\n{lines}", end="", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(lines)
    picture = svg(figures, caption(facts))
    options.json.with_suffix(".svg").write_text(picture)
    if options.publish:
        said = f"Measured on: {caption(facts)}. Median of the rounds (lowest-highest).\n\n"
        PAGE.write_text(report.publish(PAGE.read_text(), said + report.as_rst(rows)))
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(picture)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [each.name for each in measurements(FULL)]
    subjects = [each.name for each in SUBJECTS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few of everything: does it work?")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--subject",
        action="append",
        choices=subjects,
        dest="subjects",
        metavar="NAME",
        help=", ".join(subjects),
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=OUTPUT / "figures.jsonl",
        metavar="FILE",
        help="where the lines of JSON go, and the plot beside it as .svg",
    )
    parser.add_argument(
        "--publish", action="store_true", help="write table and plot into docs/ too"
    )
    options = parser.parse_args(arguments)
    options.only = options.only or names
    options.subjects = options.subjects or subjects
    return options


@contextmanager
def _subjects(scale: Scale, names: Sequence[str]) -> Iterator[list[Subject]]:
    """The subjects of those names that are there, on one backend."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backend = stack.enter_context(Backend(echo=scale.typists, flood=1, quiet=scale.consoles))
        ground = Ground(folder, backend, make_certificate(folder))
        found: list[Subject] = []
        for each in SUBJECTS:
            reason = missing(each)
            if each.name in names and reason:
                print(reason, file=sys.stderr)
            elif each.name in names:
                subject = each(ground)
                stack.callback(subject.close)
                found.append(subject)
        yield found


def _measure(
    measurement: Measurement, subjects: Sequence[Subject], scale: Scale, started: float
) -> list[Figure]:
    """All rounds of a measurement: the subjects take turns, so that noise hits all alike."""
    suited = [subject for subject in subjects if measurement.suits(subject)]
    for subject in suited:
        warm_up(measurement, subject, scale)
    rounds: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    count = min(scale.rounds, measurement.rounds)
    for number in range(count):
        turn = number % len(suited) if suited else 0
        for subject in suited[turn:] + suited[:turn]:
            try:
                found = measurement.round(subject, scale)
            except BenchError as error:
                raise BenchError(f"{measurement.name} of {subject.name}: {error}") from error
            for kind, values in found.items():
                rounds.setdefault((kind, subject.name), []).append(values)
        _say(started, f"{measurement.name}: round {number + 1} of {count}")
    return [
        Figure(kind, subject.name, statistics_of(rounds[kind.name, subject.name]))
        for kind in measurement.kinds
        for subject in suited
        if (kind.name, subject.name) in rounds
    ]


def _say(started: float, text: str) -> None:
    print(f"[{time.monotonic() - started:5.1f} s] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
