"""The job file: YAML or flags in, one checked :class:`JobRequest` out, or every mistake at once with line and fix.

Reading is in ``load``; it must never run anything, follow a reference, or print what looks like a secret.
"""

from __future__ import annotations

from node.job_file.problem import InvalidJob, Mark, Problem, render
from node.job_file.request import JobRequest, LocalInput, LocalOutput

__all__ = ["InvalidJob", "JobRequest", "LocalInput", "LocalOutput", "Mark", "Problem", "render"]
