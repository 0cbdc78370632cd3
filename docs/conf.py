"""How Sphinx builds these pages."""

from __future__ import annotations

import sys
from pathlib import Path

# The folder above is the first: the pages describe the program that they stand beside.
sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from coalition import __version__

project = "Coalition"
author = "Coalition contributors"
project_copyright = "2026, Coalition contributors"
release = version = __version__
extensions = [
    "described",
    "interfaces",
    "myst_parser",
    "parsers",
    "sphinx.ext.autodoc",
    "states",
]
exclude_patterns = ["_build"]
nitpicky = True
# Python's own names and the types in signatures: their pages are not here, and nobody is online.
nitpick_ignore_regex = [(r"py:.*", r".*")]
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
highlight_language = "text"

html_theme = "furo"
html_title = f"Coalition {version}"
html_static_path = ["_static"]
html_css_files = ["coalition.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
templates_path: list[str] = []
