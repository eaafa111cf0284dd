"""The documentation as a site: `make docs` builds it into docs/_build/html, offline; a warning is an error.

What is made from the program itself is written before Sphinx reads the pages: the reference of the command line from
settings/, that of the modules from their docstrings, the picture of the architecture from the imports, and the gallery
by running its scripts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent.resolve()
sys.path[:0] = [str(HERE.parent), str(HERE)]
# Scripts of the gallery run here, and the command line programs that they start: one after the other, in this checkout.
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line has it: threads that wait sleep
os.environ["TQDM_DISABLE"] = "1"  # no progress bars in pages

from site_pages import architecture, commands, modules, outside  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from scipion_udl.constants import __version__  # noqa: E402

project = "scipion-em-udl"
author = "the developers of scipion-em-udl"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "site_pages"]
templates_path: list[str] = []
language = "en"
suppress_warnings = ["config.cache"]  # the order of the gallery is a function, which the cache cannot hold

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
add_module_names = False

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["examples"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "capture_repr": (),  # what a script prints, not what its last line returns
    "show_memory": False,
    "write_computation_times": False,
    "reset_modules": ("matplotlib",),
    "within_subsection_order": "site_pages.order.ByNumber",
    "min_reported_time": 0,
}

html_theme = "pydata_sphinx_theme"
html_title = "scipion-em-udl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "../scipion_udl/udl_logo.png"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": False,
    "header_links_before_dropdown": 7,
}


def setup(app: Sphinx) -> None:
    """Write the pages that are made from the program, and lead links out of docs/ to where the site has them."""
    outside.write()
    app.connect("source-read", outside.relink_page)
    commands.write(HERE / "reference" / "commands")
    modules.write(HERE / "reference" / "modules")
    architecture.draw(HERE / "developers" / "architecture.svg")
