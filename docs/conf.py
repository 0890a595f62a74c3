# ruff: noqa: INP001 - no package: Sphinx looks for this file here
"""Sphinx builds these pages offline: `make docs`."""

from resilient_tasks import __version__

project = "resilient_tasks"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]

html_theme = "furo"
html_title = f"resilient_tasks {release}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings name the arguments; the signatures would repeat whole type aliases
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
