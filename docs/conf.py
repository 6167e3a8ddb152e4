"""How Sphinx makes the documentation: `make docs`. Nothing is fetched from the network."""

project = "Obnam"
author = "the Obnam developers"
copyright = "the Obnam developers"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

# `#heading` links work down to the third level; more would be a page too deep.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = "Obnam"
html_show_copyright = False
html_show_sourcelink = False
# Formats and the protocol are shown as plain text and JSON with comments.
highlight_language = "none"
