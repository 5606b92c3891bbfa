# SPDX-License-Identifier: Apache-2.0

"""Configuration of sphinx."""

extensions = [
    'cliff.sphinxext',
    'openstackdocstheme',
    'oslo_config.sphinxconfiggen',
    'oslo_config.sphinxext',
    'oslo_policy.sphinxext',
    'oslo_policy.sphinxpolicygen',
    'sphinx.ext.autodoc',
]
if 'pdf' in tags:  # noqa: F821
    extensions.append('sphinxcontrib.rsvgconverter')  # of SVG pictures
project = 'osc-quiesce'
copyright = 'The osc-quiesce developers'
root_doc = 'index'
html_theme = 'openstackdocs'
html_static_path = ['style']
html_css_files = ['osc-quiesce.css']
openstackdocs_auto_name = False
openstackdocs_auto_version = False
autoprogram_cliff_application = 'openstack'
autodoc_typehints = 'none'
config_generator_config_file = [
    ('../../etc/nova-quiesce/config-generator.conf', '_static/nova-quiesce')]
policy_generator_config_file = [
    ('../../etc/nova-quiesce/policy-generator.conf', '_static/nova-quiesce')]
latex_engine = 'xelatex'
latex_use_xindy = False
latex_documents = [
    ('index', 'doc-osc-quiesce.tex', 'osc-quiesce', copyright, 'manual')]
autoprogram_cliff_ignored = [
    '--help', '--format', '--column', '--quote', '--noindent', '--max-width',
    '--fit-width', '--print-empty', '--prefix', '--sort-column',
    '--sort-ascending', '--sort-descending']
