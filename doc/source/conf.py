# SPDX-License-Identifier: Apache-2.0

"""Configuration of sphinx."""

extensions = [
    'cliff.sphinxext',
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'reno.sphinxext',
    'sphinx.ext.autodoc',
]
project = 'osc-quiesce'
copyright = 'The osc-quiesce developers'
root_doc = 'index'
html_theme = 'openstackdocs'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
autoprogram_cliff_application = 'openstack'
autodoc_typehints = 'none'
autoprogram_cliff_ignored = [
    '--help', '--format', '--column', '--quote', '--noindent', '--max-width',
    '--fit-width', '--print-empty', '--prefix', '--sort-column',
    '--sort-ascending', '--sort-descending']
