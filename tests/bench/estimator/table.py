"""Errors as tables: median, 90th percentile, worst, and the worst signed one with its row."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Deviation:
    """One answer against one measured figure."""

    row: str
    answer: float
    truth: float

    @property
    def relative(self) -> float:
        return (self.answer - self.truth) / self.truth


HEAD = f"{'quantity':<28}{'rows':>6}{'median':>9}{'p90':>9}{'max':>9}  worst signed"


def line(name: str, deviations: Sequence[Deviation]) -> str:
    """One line of a table; a dash where nothing was measured."""
    if not deviations:
        return f"{name:<28}{0:>6}{'-':>9}{'-':>9}{'-':>9}"
    sizes = sorted(abs(d.relative) for d in deviations)
    p90 = sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))]
    worst = max(deviations, key=lambda d: abs(d.relative))
    return (
        f"{name:<28}{len(sizes):>6}{median(sizes):>9.2%}{p90:>9.2%}{sizes[-1]:>9.2%}"
        f"  {worst.relative:+.2%} ({worst.answer:.2f} for {worst.truth:.2f}, {worst.row})"
    )


@dataclass(frozen=True)
class Verdicts:
    """Yes-or-no answers against what happened: `wrong_yes` is what must never be."""

    right: int
    total: int
    wrong_yes: tuple[str, ...]
    wrong_no: tuple[str, ...]

    def text(self, name: str) -> str:
        lines = [f"{name:<28}{self.right} of {self.total} right"]
        lines += [f"    said yes, was no:  {row}" for row in self.wrong_yes]
        lines += [f"    said no, was yes:  {row}" for row in self.wrong_no]
        return "\n".join(lines)


def verdicts(answers: Sequence[tuple[str, bool, bool]]) -> Verdicts:
    """(row, answer, truth) of each."""
    return Verdicts(
        right=sum(answer == truth for _, answer, truth in answers),
        total=len(answers),
        wrong_yes=tuple(row for row, answer, truth in answers if answer and not truth),
        wrong_no=tuple(row for row, answer, truth in answers if truth and not answer),
    )
