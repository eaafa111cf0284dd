"""Photographs the plugin in Scipion, on a virtual screen, into docs/images: forms, wizards, viewers and the project.

    python docs/make_screenshots.py [NAME ...]

It uses the demo's project (it makes it where it is not there) and adds the runs that it lacks. What there is to be
photographed it asks the plugin. NAME: a part of the names of the pictures to make; without, all. It needs Xvfb
(xvfb-run) and openbox.
"""

from __future__ import annotations

import faulthandler
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))

import demo  # noqa: E402

IMAGES = HERE / "images"
SCREEN = "1500x1100x24"
LARGEST = 150_000  # bytes of a picture
LONGEST = 240  # seconds of a picture
LONGEST_RUNS = 1800  # seconds of the runs before all of them
SECONDS = 1.2  # that windows get to draw themselves
COLOURS = 128  # of a picture
VIEWS = ("hook", "anchor", "hammer")  # phantoms that stand for 2D classes
CLASSES = "align 2D of classes"  # the name of the run on them
# The parts of the page of all pictures, by how their names begin.
PARTS = {
    "project_window": "The project",
    "templates": "Workflow templates",
    "form_": "Forms: what everybody sees, then each section with the advanced questions",
    "wizard_": "Wizards",
    "results_": "Analyze results: the buttons",
    "view_": "Analyze results: what they show",
    "model": "A model",
}
SOMEWHERE = "/data/demo"  # in place of the folder of the demo, in pictures


# -- the outer process: what there is, each picture in a process of its own --------------------------------------------


def environment() -> dict[str, str]:
    """Scipion's environment, with a screen to draw on."""
    values = {**os.environ, **demo.scipion_environment()}
    del values["MPLBACKEND"]
    values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), values["PATH"]])
    return values


def on_screen(*words: str) -> str:
    """Run this script with ``words`` on a virtual screen of its own; what it prints."""
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {SCREEN}", sys.executable, __file__, "--inside", *words]
    limit = 2 * (LONGEST_RUNS if words[0] == "prepare" else LONGEST)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        print(f"{' '.join(words)}: failed\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}", flush=True)
    return done.stdout


def main() -> None:
    """Make all pictures, or those whose names hold one of the words given."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], *sys.argv[3:])
    wanted = sys.argv[1:]
    if not (demo.OUTPUT / "scipion" / "projects" / demo.PROJECT / "project.sqlite").exists():
        subprocess.run([sys.executable, demo.__file__], check=True)
    IMAGES.mkdir(exist_ok=True)
    for line in on_screen("prepare").splitlines():
        word, _, shot = line.partition(" ")
        name, *words = shot.split()
        if word == "SHOT" and (not wanted or any(part in name for part in wanted)):
            picture = IMAGES / f"{name}.png"
            on_screen(*words, str(picture))
            size = f"{picture.stat().st_size / 1000:.0f} kB" if picture.exists() else "was not made"
            print(f"{picture}  {size}", flush=True)
    write_page()


def write_page() -> None:
    """docs/screenshots.md: a page with all pictures that there are."""
    lines = ["# Every window of the plugin", "", "Made by `docs/make_screenshots.py` out of the demo's project."]
    for start, title in PARTS.items():
        lines += ["", f"## {title}"]
        for picture in sorted(IMAGES.glob(f"{start}*.png")):
            words = picture.stem.replace("_", " ").replace("2d", "2D")
            lines += ["", f"![{words}](images/{picture.name})"]
    (HERE / "screenshots.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


# -- the inner process -------------------------------------------------------------------------------------------------


def inside(kind: str, *words: str) -> None:
    """Do one thing on this screen, and end the process: closing Scipion's windows would hang."""
    code = 0
    faulthandler.dump_traceback_later(LONGEST_RUNS if kind == "prepare" else LONGEST, exit=True)
    try:
        subprocess.Popen(["openbox"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        {
            "prepare": prepare,
            "form": shoot_form,
            "wizard": shoot_wizard,
            "analyze": shoot_viewer_form,
            "view": shoot_view,
            "model": shoot_model,
            "project": shoot_project,
            "templates": shoot_templates,
        }[kind](*words)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def open_project() -> object:
    """The demo's project, in whose folder the process works from now on."""
    import pyworkflow as pw
    import pyworkflow.gui.project  # first, or Scipion's own modules import each other in a circle
    from pyworkflow.gui.plotter import Plotter
    from pyworkflow.project import Manager

    domain = pw.Config.getDomain()
    domain.getProtocols(), domain.getViewers(), domain.getWizards()
    Plotter.setBackend("TkAgg")
    project = Manager().loadProject(demo.PROJECT)
    os.chdir(project.path)
    return project


def own(classes: dict) -> dict:
    """Of classes by their names, those of this plugin."""
    return {name: found for name, found in classes.items() if found.__module__.startswith("scipion_udl")}


def run_of(project: object, name: str) -> object:
    """The run with that label, or the first finished run of a protocol of that name, or a new one."""
    labelled = named(project, name.replace("_", " "))
    if labelled:
        return labelled
    runs = [run for run in project.getRuns() if run.getClassName() == name and run.isFinished()]
    return runs[0] if runs else project.newProtocol(project.getDomain().getProtocols()[name])


def prepare() -> None:
    """Add the runs that the project lacks, and list the pictures there are."""
    project = open_project()
    add_runs(project)
    domain = project.getDomain()
    wizards: set[type] = set()
    for name, protocol in own(domain.getProtocols()).items():
        if protocol._label:
            _list_forms(project, name, snake(protocol._label), wizards)
    for name, viewer in own(domain.getViewers()).items():
        if hasattr(viewer, "buttons") and viewer._targets:
            _list_views(project, name, viewer)
    for button in ("Averages", "Classes", "Frc"):
        run = CLASSES.replace(" ", "_")
        print(f"SHOT view_classes_{button.lower()} view UdlAlign2DViewer {run} doShow{button}")
    print("SHOT model model")
    print("SHOT project_window project")
    print("SHOT templates templates")


def _list_forms(project: object, name: str, label: str, seen: set[type]) -> None:
    """The form with what everybody sees, then each section with all there is; and those wizards not seen before."""
    from pyworkflow.viewer import DESKTOP_TKINTER

    run = run_of(project, name)
    print(f"SHOT form_{label} form {name} 0 0")
    labels = [section.getLabel() for section in run.getDefinition().iterSections()]
    sections = [section for section in labels if section not in ("General", "Parallelization")]
    for k, section in enumerate(sections):
        print(f"SHOT form_{label}_{snake(section)} form {name} {k} 1")
    for parameter, wizard in project.getDomain().findWizards(run, DESKTOP_TKINTER).items():
        if wizard not in seen:
            seen.add(wizard)
            print(f"SHOT wizard_{label}_{snake(parameter)} wizard {name} {parameter}")


def _list_views(project: object, name: str, viewer: type) -> None:
    target = viewer._targets[0].__name__
    print(f"SHOT {snake(viewer._label)} analyze {name} {target}")
    made = viewer(project=project)
    made.setProtocol(run_of(project, target))
    for button in made.buttons():
        if button.name not in ("doShowReport", "doShowSet"):  # a browser, and a program of its own
            print(f"SHOT view_{snake(viewer._label)[11:]}_{snake(button.name[6:])} view {name} {target} {button.name}")


def add_runs(project: object) -> None:
    """Runs of the protocols that the demo does not run, and one of classes."""
    imported, aligned = run_of(project, "ProtUdlImportParticles"), run_of(project, "ProtUdlAlign2D")
    truth = str(demo.OUTPUT / "particles" / "truth.star")
    _add_run(project, "ProtUdlTrain", "train model", imported, "outputParticles", truthFile=truth)
    _add_run(project, "ProtUdlEvaluate", "evaluate alignment", aligned, "outputParticles", truthFrom=1, truthFile=truth)
    if not named(project, CLASSES):
        _add_run(project, "ProtUdlAlign2D", CLASSES, _import_classes(project), "outputClasses")


def _add_run(project: object, protocol: str, label: str, source: object, output: str, **options: object) -> None:
    """Run a protocol on an output of another, unless there is a run of that name."""
    if named(project, label):
        return
    project.deleteProtocol(*(failed for failed in project.getRuns() if failed.getObjLabel() == label))
    run = project.newProtocol(project.getDomain().getProtocols()[protocol], numberOfThreads=2, **options)
    run.setObjLabel(label)
    run.inputParticles.set(source)
    run.inputParticles.setExtended(output)
    project.launchProtocol(run, wait=True)
    if not run.isFinished():
        raise RuntimeError(f"{label}: {run.getErrorMessage()}")


def _import_classes(project: object) -> object:
    """A run that gives particles of several views, and their classes, as a 2D classification would."""
    import pwem.objects as emobj
    from pyworkflow.object import Pointer

    there = named(project, "2D classes")
    if there:
        return there
    star, counts = _views()
    run = project.newProtocol(project.getDomain().getProtocols()["ProtUdlImportParticles"], filePath=str(star))
    run.setObjLabel("2D classes")
    project.launchProtocol(run, wait=True)
    particles = run.outputParticles
    classes = run._createSetOfClasses2D(Pointer(run, extended="outputParticles"))
    items = [item.clone() for item in particles.iterItems()]
    for number, count in enumerate(counts, 1):
        own, items = items[:count], items[count:]
        view = emobj.Class2D(objId=number)
        view.copyInfo(particles)
        view.setRepresentative(own[0].clone())
        classes.append(view)
        for item in own:
            item.setClassId(number)
            view.append(item)
        classes.update(view)
    run._defineOutputs(outputClasses=classes)
    project._storeProtocol(run)
    return run


def _views() -> tuple[Path, list[int]]:
    """Simulated particles of several views in one table, and how many there are of each."""
    from scipion_udl.io.tables import Table, read_tables, write_tables

    folder, counts = demo.OUTPUT / "views", [400, 150, 250]
    optics, columns = None, {}
    for view, count in zip(VIEWS, counts):
        options = ["--phantom", view, "--count", str(count), "--box", "64", "--pixel-size", "4", "--snr", "0.1"]
        command = [sys.executable, "-m", "scipion_udl.cli", "simulate", str(folder / view), *options, "--overwrite"]
        subprocess.run(command, check=True, capture_output=True)
        optics, table = read_tables(str(folder / view / "particles.star"))
        for label, texts in table.columns.items():
            columns.setdefault(label, []).extend(texts)
    write_tables(str(folder / "particles.star"), [optics, Table("particles", columns)])
    return folder / "particles.star", counts


def named(project: object, label: str) -> object | None:
    """The finished run of that name; None without."""
    found = [run for run in project.getRuns() if run.getObjLabel() == label and run.isFinished()]
    return found[0] if found else None


def snake(words: str) -> str:
    """Words as a part of a file name: 'align 2D' and 'maskRadius' as 'align_2d' and 'mask_radius'."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", words)
    return re.sub(r"\W+", "_", apart).strip("_").lower()


# -- pictures ----------------------------------------------------------------------------------------------------------


def settle(widget: object) -> None:
    """Let windows draw themselves."""
    import time

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        widget.update()
        time.sleep(0.05)


def photograph(widget: object, path: str) -> None:
    """The window of a Tk widget as a png of few colours."""
    from PIL import Image, ImageGrab

    window = widget.winfo_toplevel()
    window.lift()
    settle(window)
    left, top = window.winfo_rootx(), window.winfo_rooty()
    box = (left, top, left + window.winfo_width(), top + window.winfo_height())
    picture = ImageGrab.grab(bbox=box, xdisplay=os.environ["DISPLAY"])
    for colours in (COLOURS, 64, 32, 16):
        picture.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        if os.path.getsize(path) <= LARGEST:
            return


def when_drawn(root: object, path: str) -> None:
    """Photograph the newest window on top of ``root`` once it is there, and end: it waits for somebody to close it."""

    def shoot() -> None:
        windows = [child for child in descendants(root) if child.winfo_class() == "Toplevel" and child.winfo_viewable()]
        photograph(windows[-1] if windows else root, path)

    after(root, int(1000 * SECONDS), shoot)


def after(root: object, milliseconds: int, shoot: Callable[[], None]) -> None:
    """Photograph in a while, while a window waits for somebody to close it, and end."""

    def shoot_and_end() -> None:
        code = 0
        try:
            shoot()
        except Exception:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    root.after(milliseconds, shoot_and_end)


def descendants(widget: object) -> list:
    """All widgets within one."""
    return [found for child in widget.winfo_children() for found in (child, *descendants(child))]


def form_window(protocol: object, **options: object) -> object:
    """The form of a protocol or viewer, drawn."""
    from pyworkflow.gui.form import FormWindow

    window = FormWindow("Protocol Run", protocol, lambda *_a, **_k: None, None, **options)
    window.root.deiconify()
    settle(window.root)
    return window


def shoot_form(name: str, section: str, expert: str, path: str) -> None:
    """A section of the form of a protocol, with the values of its run."""
    protocol = run_of(open_project(), name)
    for _, value in protocol.iterDefinitionAttributes():
        if isinstance(value.get(), str):
            value.set(value.get().replace(str(demo.OUTPUT), SOMEWHERE))
    protocol.expertLevel.set(int(expert))
    window = form_window(protocol)
    notebooks = [widget for widget in descendants(window.root) if widget.winfo_class() == "TNotebook"]
    if notebooks:
        notebooks[0].select(int(section))
    photograph(window.root, path)


def shoot_wizard(name: str, parameter: str, path: str) -> None:
    """A wizard, opened from its form."""
    protocol = run_of(open_project(), name)
    protocol.expertLevel.set(1)
    if parameter == "referenceItem":  # it needs a set to choose from
        protocol.inputReference.set(named(protocol.getProject(), CLASSES))
        protocol.inputReference.setExtended("outputAverages")
    window = form_window(protocol)
    when_drawn(window.root, path)
    window.wizParamName = parameter
    window.wizards[parameter]().show(window)


def shoot_viewer_form(name: str, target: str, path: str) -> None:
    """The buttons that 'Analyze results' shows."""
    viewer = viewer_of(name, target)
    window = form_window(viewer, visualizeMode=True, visualizeDict=viewer._getVisualizeDict())
    photograph(window.root, path)


def viewer_of(name: str, target: str) -> object:
    """A viewer of the plugin, with the run that it shows."""
    project = open_project()
    viewer = project.getDomain().getViewers()[name](project=project)
    viewer.setProtocol(run_of(project, target))
    return viewer


def shoot_view(name: str, target: str, button: str, path: str) -> None:
    """What one button shows."""
    viewer = viewer_of(name, target)
    root = form_window(viewer, visualizeMode=True, visualizeDict=viewer._getVisualizeDict()).root
    viewer._tkRoot = root
    show_views(viewer._getVisualizeDict()[button](button), root, path)


def shoot_model(path: str) -> None:
    """The model of the alignment."""
    project = open_project()
    model = run_of(project, "ProtUdlAlign2D").outputModel
    views = project.getDomain().getViewers()["UdlModelViewer"](project=project)._visualize(model)
    show_views(views, None, path)


def show_views(views: list, root: object, path: str) -> None:
    """Show views as Scipion does, and photograph the first."""
    if hasattr(views[0], "getFigure"):
        views[0].show()
        photograph(views[0].getFigure().canvas.manager.window, path)
    else:
        when_drawn(root, path)
        views[0].show()


def shoot_project(path: str) -> None:
    """The window of the demo's project."""
    project = open_project()
    from pyworkflow.gui.project import ProjectWindow

    window = ProjectWindow(project.path)
    window.root.geometry("1300x760+0+0")
    window.root.deiconify()
    settle(window.root)
    view = window.getViewWidget()
    for widget in descendants(view):
        if widget.winfo_class() == "Treeview":
            open_branches(widget)
        elif widget.winfo_class() == "Panedwindow" and str(widget.cget("orient")) == "horizontal":
            widget.sash_place(0, 330, 1)  # room for the names in the tree of protocols
    aligned = run_of(project, "ProtUdlAlign2D").getObjId()
    nodes = view.project.getRunsGraph().getNodes()
    view._runItemClick(next(node.item for node in nodes if node.run and node.run.getObjId() == aligned))
    photograph(window.root, path)


def open_branches(tree: object, of: str = "") -> None:
    """Open the branches of the tree of protocols that lead to those of this plugin."""
    for item in tree.get_children(of):
        if str(tree.item(item, "text")).strip() in ("Protocols SPA", "2D", "Align", "more"):
            tree.item(item, open=True)
            open_branches(tree, item)


def shoot_templates(path: str) -> None:
    """What 'scipion template' offers of this plugin."""
    open_project()
    from pyworkflow.gui import Window
    from pyworkflow.template import TemplateList
    from scipion.scripts.kickoff import chooseTemplate

    window = Window("Scipion", None)
    found = TemplateList()
    found.addPluginTemplates()
    when_drawn(window.root, path)
    window.root.after(100, lambda: chooseTemplate(found.sortListByPluginName().templates, window.root))
    window.show()


if __name__ == "__main__":
    main()
