"""Segments of filaments: a helix with two different ends, in tubes that lie any way, cut into overlapping segments.

The helix is the tail of a phage: a stack of rings of six subunits each, every ring a rise further along the axis and a
twist further about it. In its template the axis lies along x. RELION's psi prior of a segment is the pose angle that
brings the tube along x; which of both ways is not known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.imaging.poses import Poses, rotations, to_matrices, wrap
from scipion_udl.io.tables import Table
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import blob_images, widened

PHANTOM_HELICES = {"tail": "a helix of rings, the tail of a phage, in segments"}
FOLD, TWIST, RISE = 6, 17.0, 0.16  # subunits of a ring; degrees and parts of the box from a ring to the next
DIAMETER = 0.44  # of the tube, parts of the box
PER_TUBE, APART = 12, 3  # segments of a tube, and how many rises apart they are cut out
TUBES = 5  # of a micrograph
PRIOR_ERROR = 2.0  # degrees: standard deviation of the psi priors
# A subunit: along the axis, off it, and about it (degrees), width, weight; lengths in parts of the box.
_SUBUNIT = np.array(
    [
        [0.000, 0.090, 0.0, 0.020, 1.0],
        [0.034, 0.135, 8.0, 0.016, 0.9],
        [0.052, 0.185, 16.0, 0.014, 0.8],
        [-0.034, 0.065, -10.0, 0.012, 0.7],
    ]
)
_TUBE = 5  # what random numbers are for, beside those of simulation/particles.py and simulation/views.py


class Helix:
    """The helix as a template of ``box`` pixels, its axis along x and a ring at the origin.

    ``rise``: from ring to ring, and ``diameter``, in pixels.
    """

    def __init__(self, box: int) -> None:
        self.box, self.rise, self.diameter = int(box), RISE * box, DIAMETER * box
        reach = int(np.ceil(1.2 / RISE))  # beyond the corners, however a segment lies
        ring, fold = (n.ravel() for n in np.meshgrid(np.arange(-reach, reach + 1), np.arange(FOLD), indexing="ij"))
        turned = TWIST * ring + 360.0 / FOLD * fold
        self._along = (_SUBUNIT[:, 0] + RISE * ring[:, None]).ravel() * box
        self._off = np.tile(_SUBUNIT[:, 1], len(ring)) * box
        self._about = np.radians((_SUBUNIT[:, 2] + turned[:, None]).ravel())
        width, weight = (np.tile(_SUBUNIT[:, column], len(ring)) for column in (3, 4))
        self._width, self._weight = widened(width * box, weight)

    def image(self) -> np.ndarray:
        """The mean of the views from all around, which segments are aligned to.

        Returns
        -------
        (box, box) float32 array
        """
        azimuths = np.linspace(0, 360.0 / FOLD, 12, endpoint=False)
        return self.project(azimuths, Poses(np.zeros(12))).mean(0)

    def project(self, azimuth: np.ndarray, poses: Poses) -> np.ndarray:
        """Projections across the axis.

        Parameters
        ----------
        azimuth : (N,) array
            Degrees that the helix is turned about its axis.
        poses : Poses
            N: those that take the projections back to the axis along x.

        Returns
        -------
        (N, box, box) float32 array
        """
        across = self._off * np.sin(self._about + np.radians(np.asarray(azimuth))[:, None])
        centre = np.stack(np.broadcast_arrays(self._along, across), -1)
        matrices = to_matrices(poses)
        centre = np.einsum("nji,nkj->nki", matrices[:, :2, :2], centre - matrices[:, None, :2, 2])
        return blob_images(centre, self._width, self._weight, self.box)


@dataclass
class HelixSimulation(Simulation):
    """N segments of a helix, :data:`PER_TUBE` of a tube after each other.

    As :class:`Simulation`, but ``template`` is a :class:`Helix`, and ``max_shift`` is how far off centre segments lie
    across the axis; along it they lie up to half the rise off a ring. A pose takes a segment to the mean view,
    :meth:`.Helix.image`, the nearest ring to the origin.
    """

    template: Helix  # type: ignore[assignment]  # in place of a single view

    def __post_init__(self) -> None:
        super().__post_init__()
        number = np.arange(self.count)
        self._tube, self._place = number // PER_TUBE, number % PER_TUBE
        tubes = [np.random.default_rng([self.seed, tube, _TUBE]).random(5) for tube in range(self._tube[-1] + 1)]
        self._tubes = np.array(tubes)
        draws = np.array([self._random(k).random(6) for k in number])  # the first four are the base's
        axis = self._tubes[self._tube, 0] * 360.0 - 180.0
        self._backward = backward = self._tubes[self._tube, 1] < 0.5
        across = (2 * draws[:, 1] - 1) * self.max_shift
        along = (draws[:, 2] - 0.5) * self.template.rise
        shift = -np.stack([along, across], -1)
        self._poses = Poses(wrap(axis + 180.0 * self._backward), shift)
        normal = np.sqrt(-2 * np.log1p(-draws[:, 4])) * np.cos(2 * np.pi * draws[:, 5])
        self._prior = wrap(axis + PRIOR_ERROR * normal)
        self._axis = axis
        # Where the tube goes on in the image, the helix goes on with it, or back.
        self._azimuth = 360.0 * self._tubes[self._tube, 2] + APART * TWIST * self._place * np.where(backward, -1, 1)

    @property
    def backward(self) -> np.ndarray:
        """Which segments (N,) lie the other way round than their prior says."""
        return self._backward

    def show(self, indices: np.ndarray, poses: Poses) -> np.ndarray:
        return self.template.project(self._azimuth[np.asarray(indices, np.int64)], poses)

    def others(self, draws: np.ndarray, poses: Poses) -> np.ndarray:
        return self.template.project(360.0 * draws[:, 0], poses)

    def words(self) -> str:
        """What a user should know of the helix.

        Returns
        -------
        str
            Rise, twist, diameter and tubes.
        """
        rise, diameter = (value * self.pixel_size for value in (self.template.rise, self.template.diameter))
        return (
            f"rise {rise:.2f} A, twist {TWIST:g} degrees, tubes of {diameter:.0f} A and {PER_TUBE} segments each, "
            f"{APART * rise:.2f} A apart; psi priors are off by {PRIOR_ERROR:g} degrees, polarity is not told"
        )

    def add_to(self, particles: Table) -> None:
        """Add to a particle table what RELION tells of helical segments.

        Parameters
        ----------
        particles : Table
            N rows, changed in place.
        """
        length = self._place * APART * self.template.rise
        # Tubes of a micrograph lie beside each other.
        field = 2 * PER_TUBE * APART * self.template.rise
        begin = (self._tubes[:, 3:5] * 0.1 + 0.5) * field
        begin[:, 0] += field * (np.arange(len(begin)) % TUBES)
        along = rotations(self._axis)[:, 0]
        place = begin[self._tube] + length[:, None] * along
        columns = {
            "rlnMicrographName": [f"tubes_{tube // TUBES + 1:03d}.mrc" for tube in self._tube],
            "rlnCoordinateX": [f"{x:.6f}" for x in place[:, 0]],
            "rlnCoordinateY": [f"{y:.6f}" for y in place[:, 1]],
            "rlnHelicalTubeID": [str(tube % TUBES + 1) for tube in self._tube],
            "rlnHelicalTrackLengthAngst": [f"{value * self.pixel_size:.6f}" for value in length],
            "rlnAngleTiltPrior": ["90.000000"] * self.count,
            "rlnAnglePsiPrior": [f"{value:.6f}" for value in self._prior],
            "rlnAnglePsiFlipRatio": ["0.500000"] * self.count,
        }
        for label, values in columns.items():
            particles.set(label, values)
