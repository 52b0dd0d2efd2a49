"""How Sphinx builds these pages: `make docs`."""

project = "consoled"
author = "the authors of consoled"
copyright = author  # Sphinx's own name
extensions: list[str] = []
exclude_patterns: list[str] = []
highlight_language = "none"
html_theme = "alabaster"
html_theme_options = {"description": "Serial consoles of virtual machines", "page_width": "64rem"}
html_show_copyright = False
nitpicky = True
