"""What the protocols that run the engine have in common: how it is started, its GPU, what it leaves behind."""

from __future__ import annotations

import csv
import glob
import json
import os
import shlex
from subprocess import CalledProcessError

import pyworkflow.utils as pwutils
from pwem.objects import EMSet, Particle
from pwem.protocols import EMProtocol
from pyworkflow.protocol import GPU_LIST, USE_GPU, VOID_GPU, Form, params

from scipion_udl import Plugin
from scipion_udl.constants import MODEL
from scipion_udl.convert.particle_input import count_items, info_of
from scipion_udl.convert.particles import write_particles
from scipion_udl.convert.set_images import convert_image, engine_image, image_name
from scipion_udl.convert.set_rows import set_problem
from scipion_udl.engine_env import engine_gpus, engine_problem
from scipion_udl.errors import UdlError
from scipion_udl.messages import restored
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.asking import ask, ask_hidden, in_words_of_the_form, words_of
from scipion_udl.protocols.diameter_question import SIZE, DiameterQuestion
from scipion_udl.settings.commands import RunSettings
from scipion_udl.settings.option import Question, Settings

# Below this many particles the engine trains no network (it says so itself; here it is said before the run).
FEWEST_TO_TRAIN = 128

# Files in the run's extra folder; the engine writes its results there too.
PARTICLES = "particles.star"
CONVERTED = "particles.mrcs"
REFERENCE = "reference.mrc"
TRAINING = "training.csv"
SUMMARY = "summary.json"
REPORT = "report.html"
INPUT = "input.json"  # how many particles were given to the engine, and how many were disabled
PROGRESS = "progress.json"  # of the engine, while it runs
ERROR = "error.json"  # by which it ended


_GPU = Question(
    USE_GPU,
    "Use GPU?",
    "No: the processor does it all; 1000 particles of 128 pixels take a minute or so. Yes: the GPU that "
    "you name does it. A GPU that is not there is an error.",
    kind="yes",
    default=False,
    advanced=True,
)
_GPU_NUMBER = Question(
    GPU_LIST,
    "GPU ID",
    "The number of the GPU to use, counted from 0 as nvidia-smi does.",
    kind="text",
    default="0",
    advanced=True,
)


def told_in(summary: dict, level: str) -> list[str]:
    """What the engine says in a summary, of a level: "warning" or "note". Those of an earlier version have sentences
    alone."""
    if "messages" not in summary:
        return list(summary.get(f"{level}s") or [])
    return [restored(one) for one in summary["messages"] if one.get("level") == level]


def _warnings_of(summary: dict) -> list[str]:
    """The warnings of the engine, but that on old poses in its input: that is a table which the plugin made."""
    return [one for one in told_in(summary, "warning") if getattr(one, "code", "") != "old_poses_left_out"]


def _is_number(param: params.Param) -> bool:
    """Whether a question of a form asks for a number that it must have."""
    if not isinstance(param, (params.IntParam, params.FloatParam)):
        return False
    try:
        return bool(param.validate(None))
    except TypeError:  # of Scipion's validators some compare it as it is
        return True


class ProtUdlBase(DiameterQuestion, EMProtocol):
    """Base of the protocols that run the engine on a set of particles."""

    _label: str | None = None
    _settings: type[Settings] = RunSettings  # of the engine's command that the protocol runs
    _sortsViews = False  # whether its models are of many views, sorted into classes

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _ask(self, form: Form, name: str, **changes: object) -> None:
        """Add the question that asks for an option of the engine; changes: what is otherwise than usual."""
        ask(form, self._settings.question(name), **changes)

    def _words(self, *names: str) -> list[str]:
        """Options of the engine as the form answers them, as words of a command line."""
        return words_of(self, self._settings, *names)

    def _option(self, name: str, value: object = True) -> list[str]:
        """An option of the engine with a value that is no answer of the form, as words of a command line."""
        return self._settings.option(name).words(value)

    def _begins(self, interrupted: bool) -> str:
        """The option of the engine that says whether it goes on with what an interrupted attempt has left."""
        return shlex.join(self._option("resume" if interrupted else "overwrite"))

    def _defineGpuParams(self, form: Form) -> None:
        ask_hidden(form, _GPU)
        ask_hidden(form, _GPU_NUMBER)

    def _defineTrainingParams(self, form: Form, condition: str = "True") -> None:
        for name in ("method", "epochs", "lr"):
            self._ask(form, name, condition=condition)

    def _defineSeedParam(self, form: Form) -> None:
        self._ask(form, "seed")

    # -- steps ---------------------------------------------------------------------------------------------------------

    def convertInputStep(self, inputId: int, size: int, start: bool = False) -> list[str]:
        """Write the enabled particles as the engine's table; the arguments tell when it must be written anew.

        start: whether to write the alignment that they carry, too.
        """
        star, stack = self._getExtraPath(PARTICLES), self._getExtraPath(CONVERTED)
        particles = self.inputParticles.get()
        self._noteInput(write_particles(particles, star, stack, start))
        return [star]

    def _noteInput(self, count: int) -> None:
        """Remember how many particles the engine was given."""
        left_out = count_items(self.inputParticles.get()) - count
        self.info(f"{count} particles for the engine" + (f", {left_out} disabled ones left out" if left_out else ""))
        with open(self._getExtraPath(INPUT), "w", encoding="utf-8") as file:
            json.dump({"particles": count, "disabled": left_out}, file)

    def trainStep(self, options: str, *dependsOn: object) -> list[str]:
        """Train a network on the particles. A training that was interrupted with the same options goes on."""
        interrupted = self._wasAsked("train", options, dependsOn)
        self._runEngine("train", f"{options} {self._begins(interrupted)}")
        return [self._getExtraPath(MODEL)]

    def _trainingOptions(self) -> str:
        """The options of the engine that training depends on."""
        return shlex.join(self._words("method", "seed", "epochs", "lr", *SIZE))

    def _referenceImage(self) -> Particle | None:
        """*Reference image*; None where none was given."""
        return self.inputReference.get()

    def _referenceWords(self) -> list[str]:
        """The option of the engine for *Reference image*; none where none was given."""
        reference = self._referenceImage()
        if reference is None:
            return []
        return self._option("reference", engine_image(reference, self._getExtraPath(REFERENCE)))

    def _referenceArguments(self) -> list[str]:
        """What tells one reference image from another in a step's arguments: a converted one has always one name."""
        reference = self._referenceImage()
        return [] if reference is None else [image_name(reference)]

    def _convertReference(self) -> None:
        """Write *Reference image* anew where the engine does not read its format, a class average of Spider's, say."""
        if self._referenceImage() is not None:
            convert_image(self._referenceImage(), self._getExtraPath(REFERENCE))

    def _inputArguments(self) -> tuple[int, int]:
        """What tells one input set from another in a step's arguments."""
        particles = self.inputParticles.get()
        return particles.getObjId(), particles.getSize()

    def _runEngine(self, subcommand: str, options: str) -> None:
        """Run a subcommand of the engine on the particles of this run; its results go into the extra folder.

        Raises UdlError with the engine's own sentence where it fails, also where a queue hides its exit code.
        """
        self._runOn(
            subcommand, self._getExtraPath(PARTICLES), self._getExtraPath(), options, self.numberOfThreads.get()
        )

    def _runOn(self, subcommand: str, table: str, folder: str, options: str, threads: int) -> None:
        """Run a subcommand of the engine on a table; its results go into a folder. Raises UdlError as _runEngine."""
        words = shlex.join([subcommand, table, *self._option("output", folder)])
        arguments = f"{words} {options} {shlex.join(self._option('threads', threads))}"
        self._runCommand(arguments, os.path.join(folder, SUMMARY))

    def _runCommand(self, arguments: str, result: str) -> None:
        """Run the engine with any arguments; result: the file that it writes last, whose absence means failure.

        Raises UdlError with the engine's own sentence where it fails, also where a queue hides its exit code.
        """
        problem = engine_problem(Plugin.getEnginePython())
        if problem:
            raise UdlError(problem)
        error = self._getExtraPath(ERROR)
        pwutils.cleanPath(result, error)  # the one comes back when the engine is done, the other where it fails
        arguments += f" {shlex.join(self._option('error_to', error))}"
        if self.usesGpu():
            # Scipion fills in the ids that it reserved, by Python's % : what else has a % must be doubled.
            arguments = arguments.replace("%", "%%") + f' {self._settings.option("gpu").flag} "%(GPU)s"'
        elif hasattr(self._settings, "gpu"):  # what only counts has no such option
            arguments += f" {shlex.join(self._option('gpu', 'none'))}"
        try:
            self.runJob(Plugin.getEngineProgram(), arguments, env=Plugin.getEnviron(), numberOfMpi=1)
        except CalledProcessError:
            raise UdlError(self._engineComplaint()) from None
        if not os.path.exists(result):
            raise UdlError(self._engineComplaint())

    def _wasAsked(self, subcommand: str, options: str, dependsOn: tuple) -> bool:
        """Whether an earlier attempt of this run began the same; remembers what this one asks for."""
        note = self._getExtraPath(f"{subcommand}.options.json")
        asked = json.loads(json.dumps([options, dependsOn]))
        try:
            with open(note, encoding="utf-8") as file:
                same = json.load(file) == asked
        except (OSError, ValueError):
            same = False
        with open(note, "w", encoding="utf-8") as file:
            json.dump(asked, file)
        return same

    def _engineComplaint(self) -> str:
        """What the engine said is wrong: in the file that it writes for this, or else its last sentence, from the run's
        log or from those of its jobs."""
        error = self._readJson(ERROR)
        if error:
            return in_words_of_the_form(restored(error), self._settings)
        jobs = glob.glob(os.path.join(glob.escape(self._getLogsPath()), "*.err"))  # as queues name them
        for path in (self.getStderrLog(), *sorted(jobs, key=os.path.getmtime, reverse=True)):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines = [line.strip() for line in file.read().replace("\r", "\n").split("\n")]
            except OSError:
                continue
            for line in reversed(lines):
                if line.startswith("scipion-udl "):
                    return line.partition(": ")[2]
        return "The engine stopped before it was done; its log (run.stderr) says where."

    # -- what the engine left ------------------------------------------------------------------------------------------

    def readEngineSummary(self) -> dict:
        """What the engine says of its last run here (its summary.json); {} where there is none yet."""
        return self._readJson(SUMMARY)

    def readInput(self) -> dict:
        """How many ``particles`` the engine was given, and how many were ``disabled``; {} where there is none yet."""
        return self._readJson(INPUT)

    def _readJson(self, name: str) -> dict:
        try:
            with open(self._getExtraPath(name), encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    def _progressSummary(self) -> list[str]:
        """How far the engine is, while it runs; none where it does not."""
        state = self._readJson(PROGRESS)
        if not state:
            return []
        lines = [f"{'Now' if self.isActive() else 'It stopped at'}: *{state.get('stage', '')}*"]
        if state.get("unit") == "particle" and state.get("total"):
            lines[0] += f", {state.get('done', 0)} of {state['total']} particles"
        if state.get("left") and self.isActive():
            lines[0] += f", about {max(1, round(state['left'] / 60))} min left"
        if state.get("epoch") is not None:
            text = f"Training: epoch {state['epoch']}"
            text += f" of at most {state['epochs']}" if state.get("epochs") else ""
            text += f", held-out loss {state['loss']:.4f}" if state.get("loss") is not None else ""
            text += f", true error {state['true_error']:.2f}°" if state.get("true_error") is not None else ""
            lines.append(text)
        return [line + "." for line in lines]

    def readTraining(self) -> list[dict[str, str]]:
        """The figures of each epoch of training, one dict an epoch; [] where nothing was trained."""
        try:
            with open(self._getExtraPath(TRAINING), encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        except OSError:
            return []

    @staticmethod
    def _trainingSummary(summary: dict) -> list[str]:
        training = summary.get("training") or {}
        if not training:
            return []
        text = f"Trained by *{str(summary.get('method', '')).upper()}*"
        count = training.get("epochs")
        text += f" for {count} epoch{'' if count == 1 else 's'}" if count is not None else ""
        if training.get("converged") is False:
            return [text + ": it has *not converged*, so give it more epochs."]
        return [text + "; it has converged." if training.get("converged") else text + "."]

    @staticmethod
    def _classSummary(classes: list[dict]) -> list[str]:
        """What is known of the averages of classes."""
        found = sorted(facts["resolution"] for facts in classes if facts.get("resolution"))
        lines = []
        if found:
            lines.append(
                f"Resolution of the averages: *{found[0]:.1f} to {found[-1]:.1f} Å*, median "
                f"{found[len(found) // 2]:.1f} Å (FRC of two halves at 0.143)."
            )
        lost = [str(facts["class"]) for facts in classes if facts.get("signal_found") is False]
        if lost:
            lines.append(f"*No common signal was found* in class {', '.join(lost)}.")
        return lines

    def _countSummary(self, facts: dict) -> list[str]:
        """What became of particles that are not like the others."""
        lines = []
        disabled = self.readInput().get("disabled")
        if disabled:
            lines.append(f"Disabled in the input, and so in none of the outputs: {disabled}.")
        if facts.get("ambiguous"):
            lines.append(f"Particles that may be the wrong way round (_udlAmbiguous): {facts['ambiguous']}.")
        if facts.get("outliers"):
            lines.append(f"Outliers (_udlOutlier), which score as noise or show something else: {facts['outliers']}.")
        return lines

    def getReport(self) -> str:
        """The run's report, an HTML page, relative to the project folder."""
        return self._getExtraPath(REPORT)

    def _reportSummary(self) -> list[str]:
        """A link to the report, which works in Scipion's window."""
        return [f"Report: [[{os.path.abspath(self.getReport())}][{self.getReport()}]]"]

    def _warningSummary(self, summary: dict) -> list[str]:
        warnings = [in_words_of_the_form(text, self._settings) for text in _warnings_of(summary)]
        return ["", "*WARNINGS:*", *warnings] if warnings else []

    def hasSummaryWarnings(self) -> bool:
        """Whether Scipion should mark the run with a warning sign."""
        return super().hasSummaryWarnings() or bool(_warnings_of(self.readEngineSummary()))

    # -- information ---------------------------------------------------------------------------------------------------

    def validate(self) -> list[str]:
        """As Scipion's; what is missing is told alone, since nothing else can be checked without it."""
        empty = [
            f"*{param.label.get()}* is empty: give a number."
            for name, param in self.getDefinition().iterParams()
            if _is_number(param) and getattr(self, name).get() is None
        ]
        errors = empty or self._validateSets() or super().validate()
        return [error for error in errors if error.endswith("cannot be EMPTY.")] or errors

    def _validateSets(self) -> list[str]:
        """Sentences on inputs whose files are gone: Scipion would find them empty."""
        inputs = [(name, pointer.get()) for name, pointer in self.iterInputAttributes()]
        return [f"{problem}." for _, given in inputs if isinstance(given, EMSet) and (problem := set_problem(given))]

    def _validateImage(self, image: Particle, label: str) -> list[str]:
        """A sentence where an image has not the size of the particles, or cannot be read."""
        size, box = image.getXDim(), info_of(self.inputParticles.get()).getXDim()
        if not size:  # what Scipion says of a file that is not there
            return [f"The image of *{label}*, {image.getFileName()}, cannot be read: choose another."]
        return [] if size == box else [f"*{label}* has {size} px and the particles {box}: scale or crop it."]

    def _validateLength(self, name: str, label: str) -> list[str]:
        """A sentence where a length in pixels does not fit into the box of the particles."""
        box, value = info_of(self.inputParticles.get()).getXDim(), getattr(self, name).get()
        if value <= box / 2:
            return []
        return [f"*{label}* is {value:g} px, more than half of the box of {box} px: give less."]

    def _validateModel(self, model: UdlModel | None, label: str) -> list[str]:
        """Sentences where a model cannot be used on the particles; none where there is no model, which Scipion says."""
        if model is None:
            return []
        if not os.path.exists(model.getFileName()):
            return [f"The file of *{label}*, {model.getFileName()}, is not there any more."]
        if model.isForPairs():
            return [
                f"*{label}* is a matching network, which compares two photographs and knows no angle of a single "
                "particle: give a polar or a resnet model. 'scipion-udl align-pairs' uses it."
            ]
        if model.isOfClasses() != self._sortsViews:
            return [
                f"*{label}* holds the classes of a whole set, not one view: use it in 'udl - classify 2D'."
                if model.isOfClasses()
                else f"*{label}* tells the angles of one view, and holds no classes of a whole set: give the model of "
                "a 'udl - classify 2D' run."
            ]
        particles = info_of(self.inputParticles.get())
        misfit = model.misfit(particles.getXDim(), particles.getSamplingRate())
        return [f"*{label}*: {misfit}"] if misfit else []

    def _validate(self) -> list[str]:
        if self.inputParticles.get() is None:  # Scipion says so itself
            return []
        return self._validateEngine() + self._validateForm()

    def _validateForm(self) -> list[str]:
        """Sentences where the answers do not fit the particles or each other."""
        return []

    def _validateEngine(self) -> list[str]:
        """Sentences where the engine cannot run, or a GPU was asked for that it does not see."""
        if Plugin.validateInstallation():
            return []  # Scipion adds these sentences itself
        problem = engine_problem(Plugin.getEnginePython())
        if problem:
            return [problem]
        return self._validateGpu() if self.usesGpu() else []

    def _validateGpu(self) -> list[str]:
        text = self.gpuList.get("")
        try:
            wanted = [gpu for gpu in self.getGpuList() if gpu != VOID_GPU]
        except ValueError:
            wanted = []
        if not wanted:
            return [f"*GPU ID* is '{text}': give the number of a GPU, such as 0, or switch *Use GPU* off."]
        if self.useQueue():
            return []  # this may not be the machine that it runs on; the engine looks there
        names, problem = engine_gpus(Plugin.getEngineProgram())
        if problem:
            return [problem]
        if all(gpu < len(names) for gpu in wanted):
            return []
        seen = ", ".join(f"{k}: {name}" for k, name in enumerate(names)) or "none"
        return [f"GPU {text} was asked for, but the engine sees {seen}. Name one of these, or switch *Use GPU* off."]
