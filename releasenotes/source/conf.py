# SPDX-License-Identifier: Apache-2.0

"""Configuration of sphinx."""

extensions = ['openstackdocstheme', 'reno.sphinxext']
project = 'osc-quiesce release notes'
copyright = 'The osc-quiesce developers'
root_doc = 'index'
html_theme = 'openstackdocs'
html_static_path = ['../../doc/source/style']
html_css_files = ['osc-quiesce.css']
openstackdocs_auto_name = False
openstackdocs_auto_version = False
