"""What an audit found: how much was compared, and every difference by name."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between two books.

    Attributes:
        check: The rule that does not hold, such as "balances = sum of transfers".
        subject: The row or total it does not hold for.
        expected: The value that the other book implies.
        actual: The value that stands there.
    """

    check: str
    subject: str
    expected: str
    actual: str

    def __str__(self) -> str:
        """Return the sentence an operator reads."""
        return f"{self.check}: {self.subject}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of one part of an audit.

    Attributes:
        compared: Number of values compared, by check.
        findings: Every difference; empty when the books agree.
        notes: What could not be compared, and why.
    """

    compared: dict[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Tell whether the books agree."""
        return not self.findings


def merge(reports: Iterable[Report]) -> Report:
    """Join the parts of an audit into one report."""
    compared: dict[str, int] = {}
    findings: list[Finding] = []
    notes: list[str] = []
    for report in reports:
        for check, count in report.compared.items():
            compared[check] = compared.get(check, 0) + count
        findings.extend(report.findings)
        notes.extend(report.notes)
    return Report(compared=compared, findings=tuple(findings), notes=tuple(notes))
