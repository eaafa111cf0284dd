"""Opens Scipion's windows on a (virtual) screen and tells as JSON what is in them; a program for the tests.

    python -m scipion_udl.tests.on_screen forms PROJECT
    python -m scipion_udl.tests.on_screen runs PROJECT
    python -m scipion_udl.tests.on_screen window PROJECT
    python -m scipion_udl.tests.on_screen subset PROJECT

In a process of its own: Tk and the screen must not meet the tests, and closing Scipion's windows hangs.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import subprocess
import sys
import time
import tkinter
import traceback

import pyworkflow as pw
import pyworkflow.gui.project
from matplotlib.backend_bases import MouseEvent
from pyworkflow.gui.form import FormWindow
from pyworkflow.gui.plotter import Plotter
from pyworkflow.project import Manager, Project

WITH_TEXT = ("Label", "Button", "Radiobutton", "Checkbutton")
LONGEST = 150  # seconds of the program
TOLERANCE = 2  # pixels
WAIT_MS = 700  # until a dialog is drawn


def show(kind: str, project: str) -> dict:
    """What :func:`forms`, :func:`runs`, :func:`window` or :func:`subset` tells of a project (its name).

    On a screen of its own. Raises AssertionError with the program's words where it fails.
    """
    # Without -noreset the server begins anew when its last client leaves, and answers nobody meanwhile.
    command = ["xvfb-run", "-a", "-s", "-noreset -screen 0 1400x1000x24", sys.executable, "-m", __name__, kind, project]
    environment = {**os.environ, "MPLBACKEND": "TkAgg"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LONGEST, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def can_show() -> bool:
    """Whether there is a virtual screen to be had."""
    return shutil.which("xvfb-run") is not None


def own(classes: dict) -> dict:
    """Of Scipion's classes by their names, those of the plugin."""
    return {name: found for name, found in classes.items() if found.__module__.startswith("scipion_udl.")}


# -- the program -------------------------------------------------------------------------------------------------------


def descendants(widget: tkinter.Misc) -> list:
    """All widgets within one."""
    return [found for child in widget.winfo_children() for found in (child, *descendants(child))]


def cut_off(window: tkinter.Misc) -> list[str]:
    """The texts in a window that have less room than they need, or reach over its edge."""
    found = []
    for widget in descendants(window):
        if widget.winfo_class() in WITH_TEXT and widget.winfo_viewable() and widget.cget("text"):
            narrow = widget.winfo_reqwidth() > widget.winfo_width() + TOLERANCE
            flat = widget.winfo_reqheight() > widget.winfo_height() + TOLERANCE
            end = widget.winfo_rootx() + widget.winfo_width() - window.winfo_rootx()
            if narrow or flat or end > window.winfo_width() + TOLERANCE:
                found.append(str(widget.cget("text")))
    return found


def open_form(protocol: object, **options: object) -> FormWindow:
    """A form with all that it has, drawn."""
    protocol.expertLevel.set(1)
    window = FormWindow("Form", protocol, lambda *_a, **_k: None, None, **options)
    window.root.deiconify()
    window.root.update()
    return window


def look_at(window: FormWindow) -> dict:
    """What a form shows: parameters, wizards, parameters without help, and texts that are cut off in any section."""
    cut = cut_off(window.root)
    for book in (widget for widget in descendants(window.root) if widget.winfo_class() == "TNotebook"):
        for section in range(book.index("end")):
            book.select(section)
            window.root.update()
            cut += cut_off(window.root)
    helps = {name: bool(param.help.get()) for name, param in window.protocol.getDefinition().iterParams()}
    return {"shown": sorted(window.widgetDict), "wizards": sorted(window.wizards), "helps": helps, "cut": cut}


def open_viewer(project: Project, viewer: type, run: object) -> tuple[object, FormWindow]:
    """A viewer of a run, and its window."""
    made = viewer(project=project)
    made.setProtocol(run)
    window = open_form(made, visualizeMode=True, visualizeDict=made._getVisualizeDict())
    made.formWindow, made._tkRoot = window, window.root
    return made, window


def too_narrow() -> list[str]:
    """What :func:`cut_off` says of a window with a text that fits and one that does not."""
    root = tkinter.Tk()
    root.geometry("400x80")
    tkinter.Label(root, text="fits").place(x=0, y=0)
    tkinter.Label(root, text="a text that has not the room it needs").place(x=0, y=40, width=50)
    root.update()
    found = cut_off(root)
    root.destroy()
    return found


def forms(project: Project) -> dict:
    """Of each protocol and viewer of the plugin: what its form shows where nothing has been run yet."""
    domain, found = project.getDomain(), {"too narrow": too_narrow()}
    protocols = {name: protocol for name, protocol in own(domain.getProtocols()).items() if protocol._label}
    for name, protocol in protocols.items():
        window = open_form(project.newProtocol(protocol))
        found[name] = look_at(window)
        window.root.withdraw()
    for name, viewer in own(domain.getViewers()).items():
        if hasattr(viewer, "buttons") and viewer._targets:
            _, window = open_viewer(project, viewer, project.newProtocol(viewer._targets[0]))
            found[name] = look_at(window)
            window.root.withdraw()
    return found


def runs(project: Project) -> dict:
    """Of each run of a protocol of the plugin: its form, its wizards, and what each button of its viewer opens."""
    domain, found = project.getDomain(), {}
    for run in project.getRuns():
        name = run.getClassName()
        if name not in own(domain.getProtocols()) or name in found:
            continue
        window = open_form(run)
        found[name] = {"form": look_at(window), "wizards": {k: use_wizard(window, k) for k in window.wizards}}
        for viewer in domain.findViewers(run, "tkinter")[:1]:
            made, window = open_viewer(project, viewer, run)
            found[name]["viewer"] = look_at(window)
            buttons = [button.name for button in made.buttons() if button.name not in ("doShowReport", "doShowSet")]
            found[name]["views"] = {button: press(made, window, button) for button in buttons}
    return found


def window(project: Project) -> dict:
    """Scipion's own window of the project: its title, the protocols of its tree, the runs of its graph, and what it
    says of the alignment."""
    from pyworkflow.gui.project import ProjectWindow

    opened = ProjectWindow(project.path)
    opened.root.update()
    view = opened.getViewWidget()
    nodes = [node for node in view.project.getRunsGraph().getNodes() if node.run]
    view._runItemClick(next(node.item for node in nodes if node.run.getClassName() == "ProtUdlAlign2D"))
    opened.root.update()
    trees = [one for one in descendants(view) if one.winfo_class() == "Treeview"]
    texts = [one.get("1.0", "end") for one in descendants(view) if one.winfo_class() == "Text"]
    return {
        "title": opened.root.title(),
        "protocols": [text for tree in trees for text in branch_texts(tree)],
        "runs": [node.run.getClassName() for node in nodes],
        "texts": texts,
    }


def subset(project: Project) -> dict:
    """Beside Scipion's own window of the project: a classification's gallery of classes, the first two of which are
    chosen by the mouse for a subset. The numbers of its classes, and what the gallery and the window said."""
    from pyworkflow.gui.project import ProjectWindow

    opened = ProjectWindow(project.path)
    opened.root.update()
    project = opened.project
    run = next(one for one in project.getRuns() if one.getClassName() == "ProtUdlClassify2D")
    viewer = project.getDomain().findViewers(run, "tkinter")[0]
    made, window = open_viewer(project, viewer, run)
    (view,) = made._getVisualizeDict()["doShowClasses"]("doShowClasses")
    view.show()
    gallery = view.getFigure().udl_gallery
    before = {one.getObjId() for one in project.getRuns()}
    for axes in (gallery.pickers[1].ax, *(cell for cell in gallery.cells[:2]), gallery.makers[0].ax):
        click(axes)
        window.root.update()
    found: dict = {"told": gallery.told.get_text(), "count": gallery.count.get_text(), "cut": cut_off(window.root)}
    end = time.monotonic() + 60

    def look() -> None:
        """Until the run of the subset has ended."""
        for one in project.getRuns():
            if one.getObjId() not in before and one.isFinished():
                found["classes"] = [own.getObjId() for own in one.outputClasses2D.iterItems()]
                found["label"] = one.getObjLabel()
        if "classes" in found or time.monotonic() > end:
            opened.root.quit()
        else:
            opened.root.after(300, look)

    opened.root.after(300, look)
    opened.show()  # starts the loop that takes what the gallery told the window
    return found


def click(axes: object) -> None:
    """Press and release the mouse in the middle of a part of a figure."""
    canvas = axes.figure.canvas
    x, y = axes.transAxes.transform((0.5, 0.5))
    for name in ("button_press_event", "button_release_event"):
        canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, 1))


def branch_texts(tree: tkinter.Misc, of: str = "") -> list[str]:
    """The texts of a tree below one of its items."""
    return [text for item in tree.get_children(of) for text in (tree.item(item, "text"), *branch_texts(tree, item))]


def press(viewer: object, window: FormWindow, button: str) -> dict:
    """Press a button of a viewer: the window that opens, or the sentence that says why none does."""
    told: list[dict] = []
    window.root.after(WAIT_MS, lambda: told.append(close_dialog(window.root)))
    for view in viewer._getVisualizeDict()[button](button):
        view.show()
        if hasattr(view, "getFigure"):
            figure = view.getFigure()
            drawn = figure.canvas.manager.window
            drawn.update()
            size = [drawn.winfo_width(), drawn.winfo_height()]
            view.close()
            wait_for(window.root, told)
            return {"axes": len(figure.axes), "title": drawn_title(figure), "size": size}
    return told[0] if told else {}


def drawn_title(figure: object) -> str:
    """The first words on a figure."""
    texts = [text.get_text() for text in figure.texts] + [axes.get_title("left") for axes in figure.axes]
    return next((text for text in texts if text), "")


def wait_for(root: tkinter.Misc, told: list) -> None:
    """Until the look at a dialog, which there is none of, is over."""
    end = time.monotonic() + 10
    while not told and time.monotonic() < end:
        root.update()
        time.sleep(0.02)


def close_dialog(root: tkinter.Misc) -> dict:
    """What the dialog on top says, with what is cut off in it; closes it."""
    windows = [one for one in descendants(root) if one.winfo_class() == "Toplevel" and one.winfo_viewable()]
    dialogs = [one for one in windows if hasattr(one, "result")]
    if not dialogs:
        return {"dialog": None}
    widgets = descendants(dialogs[-1])
    texts = [str(w.cget("text")) for w in widgets if w.winfo_class() in WITH_TEXT and w.cget("text")]
    texts += [w.get("1.0", "end").strip() for w in widgets if w.winfo_class() == "Text"]
    kinds = sorted({w.winfo_class() for w in widgets})
    found = {"dialog": dialogs[-1].title(), "texts": texts, "kinds": kinds, "cut": cut_off(dialogs[-1])}
    dialogs[-1].destroy()
    return found


def use_wizard(window: FormWindow, parameter: str) -> dict:
    """Open a wizard from its form and close it again: what was in it."""
    told: list[dict] = []
    end = time.monotonic() + LONGEST / 3

    def look() -> None:
        """Until a dialog is there: that of the diameter asks the engine first."""
        found = close_dialog(window.root)
        if found["dialog"] is None and time.monotonic() < end:
            window.root.after(WAIT_MS, look)
        else:
            told.append(found)

    window.root.after(WAIT_MS, look)
    window.wizParamName = parameter
    window.wizards[parameter]().show(window)
    wait_for(window.root, told)
    return told[0]


def main() -> None:
    """Look, print one line of JSON, and end the process without closing anything."""
    code = 0
    faulthandler.dump_traceback_later(LONGEST, exit=True)  # a dialog that nobody closes would wait for ever
    try:
        domain = pw.Config.getDomain()
        domain.getProtocols(), domain.getViewers(), domain.getWizards()
        Plotter.setBackend("TkAgg")
        project = Manager().loadProject(sys.argv[2])
        os.chdir(project.path)
        found = {"forms": forms, "runs": runs, "window": window, "subset": subset}[sys.argv[1]](project)
        print(json.dumps({**found, "torch": "torch" in sys.modules}))
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
