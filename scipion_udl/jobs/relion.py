"""The command `relion`: `align`, `classify` or `select` as a job of RELION's type External.

RELION runs such a job from the project folder as ``EXECUTABLE --o External/job012/ --in_parts particles.star --label
value ... --j 4`` and looks into the job's folder for RELION_JOB_EXIT_SUCCESS, _FAILURE or _ABORTED and for
RELION_OUTPUT_NODES.star, the files that other jobs may take. It asks a job to stop by RELION_JOB_ABORT_NOW.
Measured with RELION 3.1.3; 4 and 5 read a label for the type of a node where 3.1 reads a number, so both are written.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from scipion_udl.constants import RUN_CLASSES, RUN_DATA, RUN_MODEL, RUN_OPTIMISER, RUN_PARTICLES, SPEAKS_AS
from scipion_udl.errors import UdlError
from scipion_udl.io import dialects
from scipion_udl.io.classes.class_runs import class_table
from scipion_udl.io.images import file_of
from scipion_udl.io.output import durable
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import open_particles
from scipion_udl.io.relion.project import (
    MODEL_NODE,
    OPTIMISER_NODE,
    PARTICLES_NODE,
    model_tables,
    optimiser_table,
    write_nodes,
)
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.messages import message
from scipion_udl.settings.commands import AlignSettings, ClassifySettings, RelionSettings

SUCCESS, FAILURE, ABORTED = (f"RELION_JOB_EXIT_{end}" for end in ("SUCCESS", "FAILURE", "ABORTED"))
ABORT_NOW, NODES = "RELION_JOB_ABORT_NOW", "RELION_OUTPUT_NODES.star"
POLL = 0.5  # seconds between two looks for ABORT_NOW
PATIENCE = 60  # seconds that the command gets to stop


@dataclass(frozen=True)
class Work:
    """What the job does. command: of this program, whose results go into a folder of that name in the job's folder;
    table: of particles, among them; stack: averages of classes; done: what it did to the particles, a word."""

    command: str
    table: str
    stack: str
    done: str


ALIGN = Work("align", "aligned.star", "averages_weighted.mrcs", "aligned")
CLASSIFY = Work("classify", "classes.star", "averages_weighted.mrcs", "classified")
SELECT = Work("select", "selected.star", "averages.mrcs", "looked at")


def work_of(settings: RelionSettings) -> Work:
    """What the job is to do.

    Parameters
    ----------
    settings : RelionSettings
        The options.

    Returns
    -------
    Work
        ALIGN where nothing else is asked for.
    """
    return CLASSIFY if settings.classify is not None else SELECT if settings.select else ALIGN


def run_job(settings: RelionSettings) -> int:
    """Do `scipion-udl relion`: run the command that is asked for and tell RELION how it ended.

    Parameters
    ----------
    settings : RelionSettings
        The options.

    Returns
    -------
    int
        The exit code: 0, 1, 130 if aborted.

    Raises
    ------
    UdlError
        Where the job's folder cannot be written, or the command was killed.
    """
    job, work = Path(settings.output), work_of(settings)
    try:
        job.mkdir(parents=True, exist_ok=True)
        for name in (SUCCESS, FAILURE, ABORTED, ABORT_NOW):
            (job / name).unlink(missing_ok=True)
    except OSError as error:
        raise UdlError(message("folder_not_writable", path=job, reason=error.strerror)) from None
    try:
        _spare_input(settings, job, work)
        (job / NODES).unlink(missing_ok=True)
        code = _run(_command(settings, job, work), job)
        if code < 0:
            raise UdlError(message("command_killed", command=work.command, signal=-code))
        if code == 0:
            _write_outputs(job, work)
    except BaseException:
        (job / FAILURE).touch()
        raise
    (job / {0: SUCCESS, 130: ABORTED}.get(code, FAILURE)).touch()
    return code


def _spare_input(settings: RelionSettings, job: Path, work: Work) -> None:
    """Raise UdlError where the job would write over what it, or its command, reads."""
    words = (file_of(word.partition("=")[2] if "=" in word else word) for word in settings.passed)
    files = [settings.in_parts, *(word for word in words if word)]
    own = OutputFolder(str(job / work.command), True, True, work.command)
    folders = OutputFolder(str(job), True, True, "relion"), own
    for folder in folders:
        folder.spare(path for path in files if os.path.isfile(path))
    if job.is_dir() and os.path.isfile(settings.in_parts):  # in a new folder there is nothing that could be read
        table = class_table(settings.in_parts) if work is SELECT else settings.in_parts
        read = open_particles(table).files()
        for folder in folders:
            folder.spare(read)


def _command(settings: RelionSettings, job: Path, work: Work) -> list[str]:
    """The command line: begun anew, or gone on with where an earlier run of the job was stopped."""
    folder, more = job / work.command, list(settings.passed)
    if any(word.startswith("-o") or (len(word) > 2 and "--output".startswith(word.split("=")[0])) for word in more):
        raise UdlError(message("relion_output_given", folder=folder))
    option = AlignSettings.option
    overwrite, resume, stack = (option(name).flag for name in ("overwrite", "resume", "write_stack"))
    if folder.is_dir() and overwrite not in more and resume not in more:
        finished = (folder / "summary.json").exists() or work is SELECT  # which is begun anew: it takes seconds
        more.append(overwrite if finished else resume)
    if option("mirror").flag in more and stack not in more:
        more.append(stack)  # RELION's 2D alignment has no mirror: particles.star names the aligned images
    if work is CLASSIFY:
        more += ClassifySettings.option("classes").words(settings.classify)
    more += option("threads").words(settings.j)
    return [sys.executable, "-m", "scipion_udl.cli", work.command, settings.in_parts, "-o", str(folder), *more]


def _run(command: list[str], job: Path) -> int:
    """The exit code of the command, 130 where RELION asked to stop, or a signal did."""
    before = signal.signal(signal.SIGTERM, _stop)  # a queue that ends the job ends the command, too
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, SPEAKS_AS: "relion"})
    try:
        while True:
            try:
                return process.wait(POLL)
            except subprocess.TimeoutExpired:
                if (job / ABORT_NOW).exists():
                    raise KeyboardInterrupt from None
    except KeyboardInterrupt:
        _interrupt(process)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _interrupt(process: subprocess.Popen) -> None:
    """Stop the command as from the keyboard, so that what it has done is kept; by force where it does not."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _write_outputs(job: Path, work: Work) -> None:
    """What RELION goes on with, from the results of the command: particles, class averages and their table, the
    nodes."""
    folder = job / work.command
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if not (folder / work.table).is_file():
        raise UdlError(message("relion_nothing_chosen", folder=folder))
    tables = read_tables(str(folder / work.table))
    particles, _ = dialects.find_particles(str(folder / work.table), tables)
    if "rlnClassNumber" not in particles:
        particles.set("rlnClassNumber", "1")
    write_tables(str(job / RUN_PARTICLES), tables)
    classes, average = summary.get("classes"), work.stack
    if work is SELECT:
        chosen = [one for one in classes if one["chosen"]]
        classes = [{**one, "image": k, "particles": one["kept"]} for k, one in enumerate(chosen, 1)]
    # "Subset selection" reads run_data.star beside run_model.star, and takes class k for the k-th one there
    if classes:
        image_of = {one["class"]: str(one["image"]) for one in classes}
        particles.set("rlnClassNumber", [image_of[int(k)] for k in particles.numbers("rlnClassNumber")])
    else:
        particles.set("rlnClassNumber", "1")
        classes = [{"image": 1, "particles": len(particles), "resolution": summary["resolution"]}]
        average = "average_weighted.mrcs"
    write_tables(str(job / RUN_DATA), tables)
    write_stack(str(job / RUN_CLASSES), StackReader(str(folder / average)).read(), summary["pixel_size"])
    name = name_in_project(job)
    write_tables(
        str(job / RUN_MODEL), model_tables(f"{name}/{RUN_CLASSES}", classes, summary["box"], summary["pixel_size"])
    )
    write_tables(str(job / RUN_OPTIMISER), [optimiser_table(name)])
    nodes = [(f"{name}/{RUN_PARTICLES}", PARTICLES_NODE), (f"{name}/{RUN_MODEL}", MODEL_NODE)]
    nodes += [(f"{name}/{RUN_OPTIMISER}", OPTIMISER_NODE)] * (work is not ALIGN)
    write_nodes(str(job / NODES), nodes)
    _write_note(job, work, summary)


def name_in_project(job: Path) -> str:
    """The job's folder as RELION names it.

    Parameters
    ----------
    job : Path
        The folder.

    Returns
    -------
    str
        From the project folder, which is the current one; as it is where it lies outside of that.
    """
    if not job.is_absolute():
        return str(job)
    project, real = Path.cwd().resolve(), job.resolve()
    return str(real.relative_to(project)) if real.is_relative_to(project) else str(job)


def _write_note(job: Path, work: Work, summary: dict) -> None:
    """The result in note.txt, where RELION notes the job's command and its user comments."""
    resolution = f"{summary['resolution']:.1f} A" if summary.get("resolution") else "none claimed"
    found = f"score {summary.get('score_mean', 0):.3f}, {summary.get('ambiguous')} ambiguous, resolution {resolution}"
    told = ("report", "report.html")
    if work is SELECT:
        classes = sum(one["chosen"] for one in summary["classes"])
        found = f"{summary['chosen']} chosen, {classes} of {len(summary['classes'])} classes"
        told = ("reasons", "selection.csv")
    lines = [
        "",
        f" ++++ {summary['particles']} particles {work.done} by scipion-udl {summary['version']} on {time.ctime()}",
        f" ++++ {found}",
        f" ++++ {told[0]}: {job / work.command / told[1]}",
        *(f" ++++ warning: {warning}" for warning in summary["warnings"]),
        "",
    ]
    note = job / "note.txt"
    before = ""
    if note.is_file() and not note.is_symlink():
        before = note.read_text(encoding="utf-8", errors="surrogateescape")
    part = durable.new(f"{note}.part")
    with open(part, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(before + "\n".join(lines))
    os.replace(part, note)
