# What the targets of the Makefile run. They create what they need: a virtual
# environment with tox here in .venv, and those of tox in .tox.

# Three at a time, since tests of guests mostly wait; the longest first.
RUN = rm -f $(FAILURES); PATH="$$PATH$$(printf %s $(addprefix :,$(PYTHONS)))" .venv/bin/tox run-parallel --parallel 3 --parallel-no-spinner -e
# The directories of Pythons that pyenv has, but need not have in PATH.
PYTHONS = $(wildcard $(PYENV_ROOT)/versions/3.1[123].*/bin)
SHORT = package,install-guide,bench-quick,pep8,mypy,client,py3,docs
TESTS = functional,faults,scenario,stories,deployments,scenario_ceph,py311-2025.1,$(SHORT)
# The unit tests with each release on each Python, the functional tests on one;
# those of 2026.2 are in TESTS.
UNIT = py{311,312,313}{,-2025.1,-2025.2,-2026.1}
RELEASES = functional-2025.1,functional-2025.2-py312,functional-2026.1-py313,stories-2025.1,stories-2025.2-py312,stories-2026.1-py313,$(UNIT)
# Everything: beside each that computes one that waits.
ALL = functional,faults,functional-2025.1,scenario,recovery,recovery-swift,recovery-s3-2026.1,functional-2025.2-py312,deployments,tempest,functional-2026.1-py313,stories,stories-2025.1,stories-2025.2-py312,stories-2026.1-py313,scenario_ceph,nova-compat,$(UNIT),$(SHORT)
# What tests of releases have given; functional is that of "make test".
RESULTS = .tox/functional-*/functional.json .tox/py3??*/unit.json
SHOW_RELEASES = $(PYTHON) tools/docs/releases.py doc/source/install/releases.rst .tox/functional/functional.json $(RESULTS)
# What tests of faults have measured.
FAULTS = .tox/faults/faults.jsonl .tox/scenario/faults.jsonl
SHOW_FAULTS = $(PYTHON) tools/docs/faults.py .tox/faults-table.inc $(FAULTS)
# That of the documentation, which needs all of them.
WRITE_FAULTS = $(PYTHON) tools/docs/faults.py --whole doc/source/admin/faults-table.inc $(FAULTS)
# The same of backups and restores.
RECOVERY = .tox/recovery/faults.jsonl
WRITE_RECOVERY = $(PYTHON) tools/docs/faults.py --whole doc/source/admin/recovery-table.inc $(RECOVERY)
# Which tools/summary.py writes; tox prints them, too, far above.
FAILURES = .tox/*/failures.txt
SHOW_FAILURES = tail -n 60 $(FAILURES) 2>/dev/null || echo 'No test failed: see what tox says.'

.venv/ready: bindep.txt constraints/2026.2.txt tools/prepare.py
	$(PYTHON) tools/prepare.py .venv
	touch $@
