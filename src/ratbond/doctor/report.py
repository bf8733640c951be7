"""Findings as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from ratbond.doctor.model import Finding, Verdict

_SCHEMA = 1


def as_json(role: str, findings: list[Finding]) -> str:
    """One object; ``ok`` is whether nothing failed."""
    return json.dumps(
        {"schema": _SCHEMA, "role": role, "ok": healthy(findings), "findings": [asdict(f) for f in findings]}, indent=2
    )  # fmt: skip


def as_text(findings: list[Finding]) -> str:
    """A line for each finding, below it what to type, and a last line that sums up."""
    return "\n".join([*_lines(findings), "", _summary(findings)])


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing failed."""
    return not any(finding.verdict is Verdict.FAIL for finding in findings)


def _lines(findings: list[Finding]) -> Iterator[str]:
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        yield f"{finding.verdict.value:<4}  {finding.check:<{width}}  {finding.text}"
        if finding.fix:
            yield f"{'':4}  {'':{width}}  > {finding.fix}"


def _summary(findings: list[Finding]) -> str:
    counts = {verdict: sum(f.verdict is verdict for f in findings) for verdict in Verdict}
    if counts[Verdict.FAIL]:
        return (
            f"{counts[Verdict.FAIL]} to mend, {counts[Verdict.WARN]} to know, {counts[Verdict.OK]} in order"
        )
    if counts[Verdict.WARN]:
        return f"it can work: nothing to mend, {counts[Verdict.WARN]} to know, {counts[Verdict.OK]} in order"
    return f"all {counts[Verdict.OK]} in order"
