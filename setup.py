"""Packaging of scipion-em-udl: a Scipion plugin and the engine behind it.

install_requires holds what both sides need, so that each side installs without the other:
``pip install scipion-em-udl[engine]`` for the command line (Python 3.11 and up),
``pip install scipion-em-udl[scipion]`` for the plugin (Python 3.8 and up, without torch).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (HERE / "scipion_udl" / "constants.py").read_text(), re.M).group(1)

ENGINE = [
    "torch>=2.2",
    "torch-ctf>=0.5",
    "torch-grid-utils>=0.5",
    "scipy>=1.9",
    "safetensors>=0.4",
    "matplotlib>=3.7",
    "pillow>=9",
    "tqdm>=4.60",
    "filelock>=4",
    "jinja2>=3.1",
]
CCPEM = ["ccpem-pipeliner>=1.6.1"]  # CCP-EM's pipeliner, the engine of Doppio, which finds our jobs by itself
SCIPION = ["scipion-pyworkflow>=3.11", "scipion-em>=3.11", "scipion-app>=3.7"]
TEST = ["pytest>=7", "pytest-xdist>=3.4"]
# Pinned: what they find, and how ruff lays code out, changes from release to release.
LINT = ["ruff==0.17.6", "mypy==2.4.1", "import-linter==2.17", "pre-commit==4.7.0"]
# The site of docs/. Sphinx runs the gallery's scripts and reads the docstrings; grimp draws the architecture.
DOCS = [
    "sphinx>=8",
    "myst-parser>=4",
    "numpydoc>=1.8",
    "sphinx-gallery>=0.18",
    "pydata-sphinx-theme>=0.16",
    "grimp>=3",
]
DEV = [*TEST, *LINT, "hypothesis>=6.90", "scikit-image>=0.20"]  # scikit-image for the photographs that it ships

setup(
    name="scipion-em-udl",
    version=VERSION,
    description="2D alignment of cryo-EM particles by unsupervised difference learning: a Scipion plugin and a "
    "command line program",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-3.0-or-later",
    python_requires=">=3.8",
    install_requires=["numpy>=1.22", "mrcfile>=1.4", "emtable>=0.0.13"],
    extras_require={"engine": ENGINE, "scipion": SCIPION, "ccpem": CCPEM, "test": TEST, "docs": DOCS, "dev": DEV},
    packages=find_packages(include=["scipion_udl", "scipion_udl.*"]),
    include_package_data=True,
    entry_points={
        "pyworkflow.plugin": ["scipion_udl = scipion_udl"],
        "ccpem_pipeliner.jobs": [
            "udl.align2d = scipion_udl.ccpem.jobs:AlignJob",
            "udl.class2d = scipion_udl.ccpem.jobs:ClassifyJob",
            "udl.select.classes = scipion_udl.ccpem.jobs:SelectJob",
        ],
        "console_scripts": ["scipion-udl = scipion_udl.cli:main"],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
