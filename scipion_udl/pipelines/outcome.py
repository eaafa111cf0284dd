"""What came of aligning a set, or one class of it, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.alignment.averages import Averages, weighted_average
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.particles.outliers import score_spread
from scipion_udl.particles.polarity_warning import polarity_of
from scipion_udl.pipelines.run import Run
from scipion_udl.validation.correntropy import particle_correntropy


@dataclass
class Outcome:
    """What came of aligning the particles of a run, or of one class of them.

    run: with these particles; frc: (rings,) of the halves; correntropy: (N,), the correntropy of each particle with the
    average of the others, None where nobody asked.
    """

    run: Run
    alignment: Alignment
    averages: Averages
    estimate: ResolutionEstimate
    frc: np.ndarray
    correntropy: np.ndarray | None = None

    @property
    def weighted(self) -> np.ndarray:
        """The best average (D, D), weighted by what the halves agree on."""
        statistics, averages = self.run.particles.statistics, self.averages
        there = ~statistics.blank
        background = float(statistics.mean[there if there.any() else slice(None)].mean())
        best = averages.all if averages.corrected is None else averages.corrected
        return weighted_average(best, self.frc, background, self.alignment.initial_lowpass)

    def figures(self) -> dict:
        """What summary.json says of it.

        Returns
        -------
        dict
            Figures by their names there.
        """
        alignment, estimate, used = self.alignment, self.estimate, self.run.particles.usable
        median, deviation = score_spread(alignment.score[used])
        return {
            "signal_found": estimate.signal,
            "resolution": estimate.resolution,
            "resolution_note": estimate.note,
            "angles_sure": estimate.sure,
            "fit": None if alignment.fit is None else round(alignment.fit.deviations, 3),
            "like_picked_noise": estimate.picked,
            "score_mean": float(alignment.score[used].mean()) if len(used) else 0.0,
            "score_median": median,
            "score_mad": deviation,
            "ambiguous": int(alignment.ambiguous[used].sum()),
            "outliers": int(alignment.outlier.sum()),
            "contrast": polarity_of(self.run.particles.statistics),
            "shared_ring": alignment.initial_lowpass,
            "half_counts": np.bincount(alignment.half[self.run.particles.counted], minlength=2).tolist(),
        }


def correntropies(run: Run, alignment: Alignment, averages: Averages) -> np.ndarray | None:
    """Correntropy of each particle with the average of the others; for all processes.

    Parameters
    ----------
    run : Run
        With settings and particles.
    alignment : Alignment
        Theirs.
    averages : Averages
        Theirs.

    Returns
    -------
    (N,) array or None
        None where nobody asked.
    """
    if not (run.settings.correntropy or run.settings.authors_xmd):
        return None
    return particle_correntropy(run.particles, alignment.poses, averages.all)
