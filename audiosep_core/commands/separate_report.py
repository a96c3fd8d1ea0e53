"""What ``audiosep separate`` says of a run: what was skipped, what is odd, what failed."""

from __future__ import annotations

from audiosep_core.commands.console import console
from audiosep_core.files.catalogue import Job, Plan
from audiosep_core.files.job import Outcome, WrittenStem

# Of skipped files in a message; --json has them all.
_MOST_NAMES = 20


def tell_skipped(planned: Plan) -> None:
    """Name what is left alone in folders, sorted by the reason."""
    for reason in sorted(set(planned.skipped.values())):
        names = [str(path) for path, why in planned.skipped.items() if why == reason]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        console.print(
            f"skipped, {reason}: {', '.join(names[:_MOST_NAMES])}{more}",
            highlight=False,
            markup=False,
        )


def report_failures(jobs: list[Job], outcomes: list[Outcome]) -> None:
    """Say what failed, and how to go on, also when the run was interrupted."""
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        console.print(f"[red]failed:[/red] {len(failures)} of {len(jobs)} files", highlight=False)
    for failure in failures:
        console.print(f"  {failure}", highlight=False, markup=False)
    if len(outcomes) < len(jobs):
        done = len(outcomes) - len(failures)
        console.print(
            f"{done} of {len(jobs)} files are done; --resume goes on from there", highlight=False
        )


def warn(outcome: Outcome) -> None:
    """Say what is odd about a file, and where its stems are not exact."""
    written: list[WrittenStem] = outcome.stems
    for kind, text in (("note", outcome.note), ("partial", outcome.damage)):
        if text:
            console.print(f"[yellow]{kind}:[/yellow] ", end="")
            console.print(f"{outcome.job.source} {text}", highlight=False, markup=False)
    for stem in written:
        if stem.clipped:
            console.print(
                f"[yellow]clipped:[/yellow] {stem.path} reaches {stem.peak:.3f} of full scale, "
                f"{stem.clipped} samples were cut off; --format wav keeps them",
                highlight=False,
            )
    if written and written[-1].query == "residual" and written[-1].lossy:
        console.print(
            f"[yellow]lossy:[/yellow] the stems in {written[-1].path.parent} do not sum to the "
            "mixture exactly after compression; --format wav does",
            highlight=False,
        )


def report(outcomes: list[Outcome], planned: Plan) -> dict[str, object]:
    """All of it, for ``--json``."""
    return {
        "files": [
            {
                "input": str(outcome.job.source),
                "resumed": outcome.resumed,
                "note": outcome.note,
                "damage": outcome.damage,
                "stems": [
                    {
                        "query": stem.query,
                        "path": str(stem.path),
                        "peak": stem.peak,
                        "clipped": stem.clipped,
                    }
                    for stem in outcome.stems
                ],
            }
            for outcome in outcomes
            if outcome.error is None
        ],
        "failures": [
            {"input": str(outcome.job.source), "error": str(outcome.error)}
            for outcome in outcomes
            if outcome.error is not None
        ],
        "skipped": [
            {"path": str(path), "reason": reason} for path, reason in planned.skipped.items()
        ],
    }
