"""From the text of a job file, the flags of ``cfab run``, or both, to a :class:`JobRequest`."""

from __future__ import annotations

from pathlib import Path

from market.errors import InvalidRequest
from node.job_file.build import build_request
from node.job_file.checker import check_document
from node.job_file.document import Mapping, Scalar, merge
from node.job_file.problem import InvalidJob, Mark, Problem
from node.job_file.request import JobRequest
from node.job_file.secret_words import blot_out
from node.job_file.yaml_reader import MAX_BYTES, Unreadable, read_yaml


def load_job_file(path: Path, flags: Mapping | None = None) -> JobRequest:
    """Read and check one job file; ``flags`` win over its keys. Its local paths are relative to its folder.

    Raises:
        InvalidRequest: the file cannot be opened; ``code`` is ``not_found`` when there is none.
        InvalidJob: everything that is wrong with it.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidRequest(
            f"there is no job file '{path}'", code="not_found", fix="write one with 'cfab job init'"
        ) from None
    except IsADirectoryError:
        fix = f"name the file in it: {_inside(path)}"
        raise InvalidRequest(f"'{path}' is a folder, not a job file", code="invalid_job_file", fix=fix) from None
    except OSError as error:
        raise InvalidRequest(f"cannot read '{path}': {error.strerror}", code="unreadable_file") from None
    return load_job(raw, file=str(path), folder=path.resolve().parent, flags=flags)


def _inside(folder: Path) -> Path:
    """The job file most likely meant by its folder."""
    return next(iter(sorted(folder.glob("*.y*ml"))), folder / "job.yaml")


def load_job(raw: bytes, *, file: str, folder: Path, flags: Mapping | None = None) -> JobRequest:
    """Check the text of a job file.

    Args:
        raw: the file's bytes.
        file: its name, for messages and for a default job name.
        folder: what relative local paths of the file are relative to.
        flags: a document made of flags, whose entries win.

    Raises:
        InvalidJob: everything that is wrong with it.
    """
    text = raw.decode("utf-8", errors="replace")
    try:
        root = read_yaml(raw)
    except Unreadable as error:
        raise InvalidJob(file, [error.problem], source=blot_out(text, [], [])) from None
    return _load(merge(root, flags) if flags else root, file=file, folder=folder, source=text)


def load_flags(flags: Mapping) -> JobRequest:
    """Check a job that is given by flags alone; local paths are relative to the current folder.

    Raises:
        InvalidJob: everything that is wrong with it.
    """
    return _load(flags, file="", folder=Path.cwd(), source="")


def flag_scalar(flag: str, text: str) -> Scalar:
    """A value that came from a flag."""
    return Scalar(text, Mark(flag=flag), plain=False)


def _load(root: Mapping, *, file: str, folder: Path, source: str) -> JobRequest:
    report = check_document(root)
    request = build_request(report, default_name=Path(file).stem, folder=folder)
    if report.problems or request is None:
        secrets = report.secrets
        problems = sorted(report.problems, key=_place)
        safe = blot_out(source, [s.mark for s in secrets], [s.text for s in secrets])
        raise InvalidJob(file, [_without(problem, [s.text for s in secrets]) for problem in problems], source=safe)
    return request


def _place(problem: Problem) -> tuple[int, int, str]:
    return problem.mark.line, problem.mark.column, problem.path


def _without(problem: Problem, secrets: list[str]) -> Problem:
    """A secret may also be quoted in another key's message: blot it out there as well."""
    return Problem(
        code=problem.code,
        path=blot_out(problem.path, [], secrets),
        mark=problem.mark,
        message=blot_out(problem.message, [], secrets),
        fix=problem.fix,
        also=problem.also,
    )
