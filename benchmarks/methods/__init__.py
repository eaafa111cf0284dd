"""What is compared: programs that align the particles of a case, each a process of its own.

``python -m benchmarks.methods.NAME DATA OUT [--threads N]`` reads DATA/particles.star (the oracle also template.mrc,
``informed`` also truth.star) and leaves OUT/poses.star, in the form of truth.star: the pose that brings each particle
onto the average. OUT/average.mrcs is made from these poses by ``common.write_average``, for all methods alike and
outside of what is timed.

Of particles of many views: ``amplitudes`` and ``aspire_views_worker``, which benchmarks.many_views calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# The environment of its own that ASPIRE needs, within the folder of results.
ASPIRE_ENVIRONMENT = Path("benchmark_output") / "aspire-env"


def _always() -> bool:
    return True


def _has_relion() -> bool:
    from shutil import which

    return which("relion_refine") is not None


def _has_aspire() -> bool:
    return (ASPIRE_ENVIRONMENT / "bin" / "python").exists()


@dataclass(frozen=True)
class Method:
    """A method: its module in this package, the options that make the variant, and what it leaves in OUT.

    label: for tables; files: what OUT holds afterwards (poses.star is what counts); available: whether it can run here;
    needs_model: whether ``command`` must be given a trained model.
    """

    module: str
    label: str
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ("poses.star",)
    available: Callable[[], bool] = _always
    needs_model: bool = False

    def command(self, data: Path, out: Path, threads: int = 1, model: Path | None = None) -> list[str]:
        """The command line, to be run in the project's folder. Raises ValueError where a model is needed."""
        if self.needs_model and model is None:
            raise ValueError(f"the method '{self.label}' needs a trained model")
        command = [sys.executable, "-m", f"benchmarks.methods.{self.module}", str(data), str(out)]
        command += ["--threads", str(threads), *self.options]
        return command + (["--model", str(model)] if self.needs_model else [])


_OWN_FILES = ("poses.star", "align/aligned.star", "align/average.mrcs", "align/summary.json")
METHODS: dict[str, Method] = {
    "oracle": Method("oracle", "oracle (true template)"),
    "informed": Method("informed", "true poses of all others"),
    "classic": Method("classic", "classic reference-free"),
    "polar": Method("polar", "polar correlation with particle 1"),
    "relion": Method("relion", "RELION 3.1, K = 1", files=("poses.star", "relion"), available=_has_relion),
    "aspire": Method("aspire", "ASPIRE", available=_has_aspire),
    "own": Method("own", "scipion-udl", files=_OWN_FILES),
    "own-network": Method("own", "scipion-udl, network alone", ("--no-refine",), _OWN_FILES),
    "own-model": Method("own", "scipion-udl, given model", files=_OWN_FILES, needs_model=True),
}
