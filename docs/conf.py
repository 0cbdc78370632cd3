"""How Sphinx builds these pages."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from coalition import __version__

project = "Coalition"
author = "Coalition contributors"
project_copyright = "2026, Coalition contributors"
release = version = __version__
extensions = ["described"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "A small job manager for render farms",
    "page_width": "1040px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
nitpicky = True
