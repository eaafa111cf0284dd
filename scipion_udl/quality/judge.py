"""The small network that turns the numbers of a class, or of a particle, into the probability that it is good.

Several networks of one hidden layer, trained apart from each other on simulated sets (benchmarks/quality.py), whose
answers are averaged. The weights come with the package, as safetensors with a card.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy.special import expit

CLASSES, PARTICLES = "classes.safetensors", "particles.safetensors"  # the files that come with the package
FARTHEST = 6.0  # standard deviations of the training sets: what lies farther off is taken to lie there


@dataclass
class Judge:
    """M networks of H hidden units on F numbers.

    mean, deviation: (F,) of the training sets; hidden: (M, H, F) weights and hidden_bias (M, H); out: (M, H) weights
    and out_bias (M,); typical: (F,) the numbers of what is good, in the middle; card: what it was trained on, with
    ``names``, those of the F numbers.
    """

    mean: np.ndarray
    deviation: np.ndarray
    hidden: np.ndarray
    hidden_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    typical: np.ndarray
    card: dict[str, Any]

    @classmethod
    def of_package(cls, name: str) -> Judge:
        """One that comes with the package.

        Parameters
        ----------
        name : str
            CLASSES or PARTICLES.

        Returns
        -------
        Judge
            Trained.
        """
        with resources.as_file(resources.files(__package__) / name) as path:
            return cls.read(str(path))

    @classmethod
    def read(cls, path: str) -> Judge:
        """Read one from a file.

        Parameters
        ----------
        path : str
            What :meth:`write` wrote.

        Returns
        -------
        Judge
            The same.
        """
        with safe_open(path, framework="numpy") as file:
            card = json.loads(file.metadata()["udl"])
        return cls(**load_file(path), card=card)

    def write(self, path: str) -> None:
        """Write it as safetensors, the card as JSON in the metadata.

        Parameters
        ----------
        path : str
            The file, which is replaced where it is there.
        """
        weights = {name: np.ascontiguousarray(value) for name, value in vars(self).items() if name != "card"}
        save_file(weights, path, {"udl": json.dumps(self.card, sort_keys=True)})

    def evidence(self, numbers: np.ndarray) -> np.ndarray:
        """How much speaks for each one: the logarithm of its odds of being good.

        Parameters
        ----------
        numbers : (N, F) array
            In the order of the card's names.

        Returns
        -------
        (N,) float64 array
            Nats; 0 where nothing is known either way.
        """
        scaled = np.clip((numbers - self.mean) / self.deviation, -FARTHEST, FARTHEST)
        units = np.tanh(np.einsum("nf,mhf->nmh", scaled, self.hidden) + self.hidden_bias)
        return ((units * self.out).sum(2) + self.out_bias).mean(1)

    def quality(self, numbers: np.ndarray) -> np.ndarray:
        """The probability that each one is good.

        Parameters
        ----------
        numbers : (N, F) array
            In the order of the card's names.

        Returns
        -------
        (N,) float64 array
            From 0 to 1.
        """
        return expit(self.evidence(numbers))

    def against(self, numbers: np.ndarray, groups: dict[str, list[str]]) -> dict[str, np.ndarray]:
        """What speaks against each one: how much more would speak for it if some of its numbers were those of what is
        good.

        Parameters
        ----------
        numbers : (N, F) array
            In the order of the card's names.
        groups : dict of str to list of str
            Names of numbers that tell the same, by what they tell.

        Returns
        -------
        dict of str to (N,) array
            Nats, by what the numbers tell; below 0 for what speaks for it.
        """
        names, now = list(self.card["names"]), self.evidence(numbers)
        found = {}
        for told, members in groups.items():
            which = [names.index(name) for name in members]
            other = numbers.copy()
            other[:, which] = self.typical[which]
            found[told] = self.evidence(other) - now
        return found
