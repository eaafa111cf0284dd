"""From nothing to an aligned average in a Scipion project; what `make demo` runs, and `make gui` shows.

    python examples/demo.py            makes the project
    python examples/demo.py window     opens it in Scipion's window; makes it first where it is not there

Simulates 1000 particles of a phantom with known poses, imports them into a new Scipion project, aligns them with
'udl - align 2D' and compares the result with the truth. All of it goes into ./demo_output, made anew every time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

OUTPUT = Path("demo_output").absolute()
PROJECT = "demo"
SIMULATION = {"phantom": "hook", "count": 1000, "box": 128, "pixel-size": 2.0, "snr": 0.1, "shift": 10, "seed": 1}
GOOD_ENOUGH = 0.95  # share of particles within 5 degrees; the demo fails below it


def scipion_environment() -> dict[str, str]:
    """What Scipion reads when it is imported: a home of its own in the demo's folder, and this Python."""
    home = OUTPUT / "scipion"
    home.mkdir(parents=True, exist_ok=True)
    return {
        "SCIPION_HOME": str(home),
        "SCIPION_USER_DATA": str(home),
        "SCIPION_DOMAIN": "pwem",
        "SCIPION_PYTHON": sys.executable,
        "SCIPION_HOSTS": str(Path(sysconfig.get_paths()["purelib"]) / "scipion" / "templates" / "hosts.template"),
        "SCIPION_NOTIFY": "False",
        "MPLBACKEND": "Agg",
    }


def say(text: str) -> None:
    """A heading between the steps."""
    print(f"\n== {text}", flush=True)


def simulate() -> Path:
    """Make the particles; returns the folder with particles.star and truth.star."""
    folder = OUTPUT / "particles"
    options = [word for name, value in SIMULATION.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "scipion_udl.cli", "simulate", str(folder), *options], check=True)
    return folder


def run(project: object, protocol: object) -> object:
    """Run a protocol as Scipion's window would, showing what the engine says. Exits where it fails."""
    project.launchProtocol(protocol, wait=False)
    log, shown = Path(project.getPath(protocol._getLogsPath("run.stdout"))), 0
    while protocol.isActive():
        time.sleep(0.5)
        project._updateProtocol(protocol)
        lines = log.read_text(errors="replace").split("\n")[:-1] if log.exists() else []
        for line in lines[shown:]:
            if line.startswith("["):
                print("  ", line, flush=True)
        shown = len(lines)
    if not protocol.isFinished():
        sys.exit(f"{protocol.getObjLabel() or protocol.getClassLabel()} failed: {protocol.getErrorMessage()}")
    return protocol


def compare_with_truth(particles: object, truth_star: Path) -> dict[str, float]:
    """Errors of the Scipion set's alignment against the truth, joined by image."""
    from scipion_udl.convert.scipion_sign import poses_of
    from scipion_udl.validation.pose_errors import compare, join, located_truth

    found = [(os.path.realpath(item.getFileName()), item.getIndex() - 1) for item in particles.iterItems()]
    images, truth = located_truth(str(truth_star))
    rows, truth_rows = join(found, images)
    return compare(poses_of(particles)[rows], truth[truth_rows], particles.getSamplingRate())


def open_window() -> int:
    """Scipion's window of the demo's project, until it is closed; returns the exit code."""
    environment = {**os.environ, **scipion_environment()}
    if not (Path(environment["SCIPION_USER_DATA"]) / "projects" / PROJECT / "project.sqlite").exists():
        say("There is no demo project yet: it is made first")
        subprocess.run([sys.executable, __file__], check=True)
    del environment["MPLBACKEND"]  # there is a screen to draw on
    # Scipion's own helpers start "python".
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    # -O: Scipion opens the window in this very process then, as its own launcher has it.
    command = [sys.executable, "-O", "-m", "scipion", "project", PROJECT]
    return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    """Run it all; returns the exit code."""
    if sys.argv[1:] == ["window"]:
        return open_window()
    started = time.monotonic()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    os.environ.update(scipion_environment())

    say("Simulating 1000 particles with known poses")
    particles = simulate()

    say("Creating a Scipion project and importing the particles")
    import pyworkflow as pw

    pw.Config.getDomain().getPlugins()
    from pyworkflow.project import Manager

    from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlImportParticles

    project = Manager().createProject(PROJECT)
    os.chdir(project.path)
    imported = run(project, project.newProtocol(ProtUdlImportParticles, filePath=str(particles / "particles.star")))
    print("  ", imported.outputParticles)

    say("Aligning them with 'udl - align 2D' (it trains a network on them first)")
    align = project.newProtocol(ProtUdlAlign2D, numberOfThreads=len(os.sched_getaffinity(0)))
    align.inputParticles.set(imported)
    align.inputParticles.setExtended("outputParticles")
    run(project, align)

    say("The result against the truth")
    errors = compare_with_truth(align.outputParticles, particles / "truth.star")
    print_result(project, align, errors, time.monotonic() - started)
    return 0 if errors["within_5"] >= GOOD_ENOUGH else 1


def print_result(project: object, align: object, errors: dict, seconds: float) -> None:
    """What a visitor wants to know."""
    print(
        f"   rotation error   {errors['rotation_mean']:.2f} degrees (mean), {errors['rotation_median']:.2f} (median)\n"
        f"   within 5 degrees {errors['within_5']:.1%} of {errors['particles']} particles\n"
        f"   shift error      {errors['shift_rms']:.2f} px RMS ({errors['shift_rms_angstrom']:.2f} Å)\n\n"
        f"   report           {Path(align.getReport()).absolute()}\n"
        f"   average          {Path(align.outputAverage.getFileName()).absolute()}\n"
        f"   project          {project.path}\n"
        f"                    'make gui' opens it in Scipion's window\n\n"
        f"   all of it took {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
