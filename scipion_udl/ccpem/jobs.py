"""The jobs of CCP-EM's pipeliner: each runs `scipion-udl relion`, and shows what that leaves in the job's folder.

Tried with ccpem-pipeliner 1.6.1. The pipeliner imports this module by the entry points of setup.py.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, Sequence

from gemmi import cif
from pipeliner.display_tools import create_results_display_object, get_ordered_classes_arrays
from pipeliner.external_program_utils import ExternalProgram
from pipeliner.job_options import EXT_STARFILE, FileDescription, InputNodeJobOption, JobOptionValidationResult
from pipeliner.nodes import (
    NODE_IMAGE2DGROUPMETADATA,
    NODE_MLMODEL,
    NODE_OPTIMISERDATA,
    NODE_PARTICLEGROUPMETADATA,
)
from pipeliner.pipeliner_job import PipelinerCommand, PipelinerJob, Ref
from pipeliner.results_display_objects import ResultsDisplayObject

from scipion_udl.ccpem.facts import class_table, metadata, references, selection_table, summary_of
from scipion_udl.ccpem.options import job_option
from scipion_udl.ccpem.program import NO_ENGINE, PROGRAM, engine_program, version_command
from scipion_udl.ccpem.questions import ALIGN, CLASSIFY, MOST_CLASSES, SELECT, JobQuestions
from scipion_udl.constants import (
    MODEL,
    RUN_DATA,
    RUN_MODEL,
    RUN_OPTIMISER,
    RUN_PARTICLES,
    __version__,
)
from scipion_udl.settings.commands import RelionSettings

_IN_A_ROW, _WIDTH = 8, 96  # averages of the montage; pixels of each
_SHARES = [round(0.05 * k, 2) for k in range(21)]  # edges of the bins of what is from 0 to 1
_CLASS, _SCORE, _QUALITY = "_rlnClassNumber", "_rlnParticleFigureOfMerit", "_udlQuality"


class UdlJob(PipelinerJob):
    """What the three jobs have in common: particles in; particles, class averages and their optimiser file out.

    COMMAND: whose results lie in a folder of that name in the job's folder. QUESTIONS: what is asked. INPUT: label and
    help of the particles. ABOUT: name, one line and more on what it does.
    """

    COMMAND = ""
    QUESTIONS: JobQuestions
    INPUT = ("", "")
    ABOUT = ("", "", "")

    def __init__(self) -> None:
        super().__init__()
        self.can_continue = True
        self._describe()
        label, text = self.INPUT
        self.joboptions[self._input.name] = InputNodeJobOption(
            label=f"{label}:",
            help_text=text,
            node_type=NODE_PARTICLEGROUPMETADATA,
            node_kwds=["relion"],
            pattern=FileDescription("STAR file", EXT_STARFILE),
            is_required=True,
        )
        self._asked = self.QUESTIONS.asked()
        for asked in self._asked:
            self.joboptions[asked.name] = job_option(asked)
        self.get_runtab_options(threads=True, addtl_args=True)

    @property
    def _input(self) -> Any:
        return RelionSettings.option("in_parts")

    def _describe(self) -> None:
        """What the pipeliner tells of the job, and whether its program is there."""
        program = engine_program()
        info = self.jobinfo
        info.display_name, info.short_desc, info.long_desc = self.ABOUT
        info.version = __version__
        info.job_author = "scipion-em-udl"
        info.references = [Ref(**one) for one in references()]
        kind = {"CLASSIFICATION": "em_image_processing"}
        versions = version_command(program) if program else None
        command = program[0] if program else PROGRAM
        info.programs = [ExternalProgram(command, name=PROGRAM, vers_com=versions, onedep_categories=kind)]
        info.alternative_unavailable_reason = None if program else NO_ENGINE

    # -- the run -------------------------------------------------------------------------------------------------------

    def create_output_nodes(self) -> None:
        """Particles, class averages and the optimiser file, as RELION's jobs call them."""
        self.add_output_node(RUN_PARTICLES, NODE_PARTICLEGROUPMETADATA, ["relion", "udl"])
        self.add_output_node(RUN_MODEL, NODE_IMAGE2DGROUPMETADATA, ["relion", "classaverages"])
        self.add_output_node(RUN_OPTIMISER, NODE_OPTIMISERDATA, ["relion", "class2d"])

    def create_post_run_output_nodes(self) -> None:
        """The network, where one was trained."""
        if (self._folder / MODEL).is_file():
            self.add_output_node(f"{self.COMMAND}/{MODEL}", NODE_MLMODEL, ["udl"])

    def get_commands(self) -> list[PipelinerCommand]:
        """The version, for the log, and the command."""
        option = RelionSettings.option
        words = option("output").words(self.output_dir)
        words += self._input.words(self.joboptions[self._input.name].get_string())
        words += self._work() + option("j").words(self.get_nr_threads())
        for asked in self._asked:
            words += self._words(asked)
        program = engine_program() or [PROGRAM]
        command = [*program, "relion", *words, *self.parse_additional_args()]
        return [*self.get_program_version_commands(), PipelinerCommand(command)]

    def _work(self) -> list[str]:
        """The words that say which command is to be run."""
        return []

    def _words(self, asked: Any) -> list[str]:
        return asked.words(self.joboptions[asked.name].value)

    def additional_joboption_validation(self) -> list[JobOptionValidationResult]:
        """What the command line would say of the answers."""
        found = []
        for asked in self._asked:
            option = self.joboptions[asked.name]
            problem = asked.problem(option.value)
            if problem:
                found.append(JobOptionValidationResult("error", [option], problem))
        return found

    # -- what it shows -------------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        """Where the results of the command lie."""
        return Path(self.output_dir) / self.COMMAND

    def _path(self, name: str) -> str:
        """The name of a file in the job's folder, from the project."""
        return str(Path(self.output_dir) / name)

    def gather_metadata(self) -> dict[str, Any]:
        """What is known of the run, from its summary."""
        return metadata(summary_of(self._folder))

    def create_results_display(self) -> Sequence[ResultsDisplayObject]:
        """The averages with the run's warnings, histograms, the classes as a table, and the report."""
        summary = summary_of(self._folder)
        shown = [self._averages(" ".join(summary["warnings"])), *self._histograms(), *self._tables(summary)]
        report = str(self._folder / "report.html")
        shown.append(
            create_results_display_object(
                "html", title="Report", html_file=report, associated_data=[report], start_collapsed=True
            )
        )
        return shown

    def _averages(self, warnings: str, **more: Any) -> ResultsDisplayObject:
        """The averages of the classes, the largest first, with the numbers of their particles."""
        shown = get_ordered_classes_arrays(
            self._path(RUN_MODEL),
            _IN_A_ROW,
            _WIDTH,
            output_dir=self.output_dir,
            output_filename="averages.png",
            parts_file=self._path(RUN_DATA),
            title="2D class averages",
            flag=warnings,
            **more,
        )
        # the pipeliner rounds shares of particles down, and names one too few in most classes
        count = Counter(_column(self._path(RUN_DATA), _CLASS))
        labels = [re.match(r"Class (\d+);", label) for label in getattr(shown, "labels", [])]
        shown.labels = [f"Class {one[1]}; {count[int(one[1])]} particles" if one else "" for one in labels]
        return shown

    def _histograms(self) -> list[ResultsDisplayObject]:
        return [self._histogram("Scores of the particles", "correlation with the average", _SCORE, [RUN_DATA])]

    def _histogram(
        self, title: str, label: str, column: str, files: Sequence[str], edges: Sequence[float] | None = None
    ) -> ResultsDisplayObject:
        """A histogram of a column of tables in the job's folder."""
        paths = [self._path(name) for name in files if Path(self._path(name)).is_file()]
        return create_results_display_object(
            "histogram",
            title=title,
            data_to_bin=[value for path in paths for value in _column(path, column)],
            bin_edges=edges,
            xlabel=label,
            ylabel="particles",
            associated_data=paths,
        )

    def _tables(self, summary: dict[str, Any]) -> list[ResultsDisplayObject]:
        headers, rows = class_table(summary)
        return [self._table("Classes", list(headers), rows, "summary.json", list(headers.values()))] if rows else []

    def _table(
        self, title: str, headers: list[str], rows: list[list[str]], name: str, tooltips: list[str] | None = None
    ) -> ResultsDisplayObject:
        return create_results_display_object(
            "table",
            title=title,
            headers=headers,
            header_tooltips=tooltips,
            table_data=rows,
            associated_data=[str(self._folder / name)],
        )


class AlignJob(UdlJob):
    """`align`: particles of one view, or of each class of a table."""

    PROCESS_NAME = "udl.align2d"
    OUT_DIR = "Align2D"
    CATEGORY_LABEL = "2D Alignment"
    COMMAND = "align"
    QUESTIONS = ALIGN
    INPUT = ("Input particles", "Particles that show one view, such as those of one 2D class, or of several classes.")
    ABOUT = (
        "2D alignment of one view",
        "Align particles of one view by unsupervised difference learning",
        "A network learns to compare the particles' orientations from the particles themselves; every particle is then "
        "refined against the average of the others, in two halves that know nothing of each other. Particles of many "
        "views are classified first.",
    )


class ClassifyJob(UdlJob):
    """`classify`: particles of all views into classes, each aligned."""

    PROCESS_NAME = "udl.class2d"
    OUT_DIR = "Class2D"  # by which the pipeliner's own selection of classes knows what it is
    CATEGORY_LABEL = "2D Classification"
    COMMAND = "classify"
    QUESTIONS = CLASSIFY
    INPUT = ("Input particles", "Particles of any views as they were extracted, with junk among them.")
    ABOUT = (
        "2D classification",
        "Sort particles into 2D classes, each aligned and judged",
        "Classes are learned from polar spectra and refined in real space; each is aligned in two halves that know "
        "nothing of each other, and gets a quality from 0, junk, to 1, with what speaks against it.",
    )

    def _work(self) -> list[str]:
        return RelionSettings.option("classify").words(self.joboptions["classes"].value or MOST_CLASSES)

    def _words(self, asked: Any) -> list[str]:
        return [] if asked.name == "classes" else super()._words(asked)

    def _averages(self, warnings: str, **more: Any) -> ResultsDisplayObject:
        """As a gallery, out of which Doppio chooses classes by a click."""
        node = next(node for node in self.output_nodes if Path(node.name).name == RUN_OPTIMISER)
        return super()._averages(warnings, base64_output=True, optimiser_info={"name": node.name, "type": node.type})

    def _histograms(self) -> list[ResultsDisplayObject]:
        return [
            *super()._histograms(),
            self._histogram("Quality of the particles", "quality", _QUALITY, [RUN_DATA], _SHARES),
        ]


class SelectJob(UdlJob):
    """`select`: good classes, and of these good particles."""

    PROCESS_NAME = "udl.select.classes"
    OUT_DIR = "Select"
    CATEGORY_LABEL = "Subset Selection"
    COMMAND = "select"
    QUESTIONS = SELECT
    INPUT = (
        "Particles with their classes",
        "particles.star of a udl.class2d job, which is chosen from in seconds; or run_it025_data.star of "
        "RELION's Class2D, whose classes are aligned again to be judged.",
    )
    ABOUT = (
        "Selection of good classes and particles",
        "Choose good 2D classes and particles by their quality, without a click",
        "Every class and every particle gets a quality from 0, junk, to 1; what is more likely good than not is "
        "chosen, or what is asked for. select/rest.star has the others: nothing is lost.",
    )

    def _work(self) -> list[str]:
        return RelionSettings.option("select").words(True)

    def _histograms(self) -> list[ResultsDisplayObject]:
        files = [f"{self.COMMAND}/selected.star", f"{self.COMMAND}/rest.star"]
        return [self._histogram("Quality of all particles", "quality", _QUALITY, files, _SHARES)]

    def _tables(self, summary: dict[str, Any]) -> list[ResultsDisplayObject]:
        return [self._table("Classes of the input", *selection_table(self._folder), "selection.csv")]


def _column(path: str, label: str) -> list[float]:
    """The finite numbers of a column of a STAR, whatever its table is called."""
    for block in cif.read_file(path):
        values = [float(text) for text in block.find_loop(label)]
        if values:
            return [value for value in values if math.isfinite(value)]
    return []
