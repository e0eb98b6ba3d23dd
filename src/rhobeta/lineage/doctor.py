"""What `rhobeta doctor` prints."""

import json
from dataclasses import asdict

from rhobeta.lineage.doctor_environment import check_environment
from rhobeta.lineage.doctor_finding import Finding
from rhobeta.lineage.doctor_project import check_project
from rhobeta.lineage.doctor_stores import check_stores
from rhobeta.paths import Paths


def examine(paths: Paths) -> list[Finding]:
    """All checks, in order; none changes anything."""
    return [*check_environment(paths.workspace), *check_project(paths), *check_stores(paths)]


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """A line each, and below it what to do, where something is; or all as JSON."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        print(f"{finding.level:5}  {finding.check}: {finding.found}")
        for line in finding.advice.splitlines():
            print(f"         {line}")
    faults = sum(finding.level == "FAULT" for finding in findings)
    print(f"{faults} faults" if faults else "no faults")


def has_fault(findings: list[Finding]) -> bool:
    """Whether anything has to be mended."""
    return any(finding.level == "FAULT" for finding in findings)
