"""Runs our jobs in CCP-EM's pipeliner, in a process of its environment (``make pipeliner``).

``PIPELINER/bin/python pipeliner_worker.py JOB.json ...``, in the folder of a project: runs each job of the options in a
file, waits for it, and writes found.json, a list with a dict for each: its folder, the status in the project's
pipeline, the names and types of its input and output nodes, the display objects as they were written and read again,
and its metadata. This file imports nothing of the project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeliner.api.manage_project import PipelinerProject
from pipeliner.job_factory import create_job_from_proc
from pipeliner.project_graph import ProjectGraph


def strict(text: str) -> Any:
    """JSON without NaN and infinities, which browsers do not read."""

    def refused(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refused)


def run(options: Path) -> dict[str, Any]:
    """Run a job and tell what came of it."""
    done = PipelinerProject().run_job(json.loads(options.read_text()), run_in_foreground=True)
    with ProjectGraph(read_only=False) as graph:
        graph.check_process_completion()
        process = graph.find_process(done.output_dir)
        job = create_job_from_proc(process)
        job.save_results_display_files()
        written = [strict(path.read_text()) for path in sorted(Path(job.output_dir).glob(".results_display*.json"))]
        read = job.load_results_display_files()
        return {
            "folder": job.output_dir,
            "status": process.status,
            "inputs": {node.name: node.type for node in process.input_nodes},
            "outputs": {node.name: node.type for node in process.output_nodes},
            "written": written,
            "read": [one.dobj_type for one in read],
            "metadata": strict(json.dumps(job.gather_metadata())),
        }


if __name__ == "__main__":
    found = [run(Path(name)) for name in sys.argv[1:]]
    Path("found.json").write_text(json.dumps(found))
