# The targets create what they need: a virtual environment with tox here in
# .venv, and those of tox in .tox.

PYTHON ?= python3
# Three at a time, since tests of guests mostly wait; the longest first.
RUN = rm -f $(FAILURES); PATH="$$PATH$$(printf %s $(addprefix :,$(PYTHONS)))" .venv/bin/tox run-parallel --parallel 3 --parallel-no-spinner -e
# The directories of Pythons that pyenv has, but need not have in PATH.
PYTHONS = $(wildcard $(PYENV_ROOT)/versions/3.1[123].*/bin)
SHORT = package,install-guide,bench-quick,pep8,mypy,client,py3,docs
TESTS = functional,faults,scenario,stories,deployments,scenario_ceph,$(SHORT)
# The unit tests with each release on each Python, the functional tests on one;
# those of 2026.2 are in TESTS.
UNIT = py{311,312,313}{,-2025.1,-2025.2,-2026.1}
RELEASES = functional-2025.1,functional-2025.2-py312,functional-2026.1-py313,stories-2025.1,stories-2025.2-py312,stories-2026.1-py313,$(UNIT)
# Everything: beside each that computes one that waits.
ALL = functional,faults,functional-2025.1,scenario,recovery,functional-2025.2-py312,deployments,tempest,functional-2026.1-py313,stories,stories-2025.1,stories-2025.2-py312,stories-2026.1-py313,scenario_ceph,nova-compat,$(UNIT),$(SHORT)
# What tests of releases have given; functional is that of "make test".
RESULTS = .tox/functional-*/functional.json .tox/py3??*/unit.json
SHOW_RELEASES = $(PYTHON) tools/releases.py doc/source/install/releases.rst .tox/functional/functional.json $(RESULTS)
# What tests of faults have measured.
FAULTS = .tox/faults/faults.jsonl .tox/scenario/faults.jsonl
SHOW_FAULTS = $(PYTHON) tools/faults.py .tox/faults-table.inc $(FAULTS)
# That of the documentation, which needs all of them.
WRITE_FAULTS = $(PYTHON) tools/faults.py --whole doc/source/admin/faults-table.inc $(FAULTS)
# Which tools/summary.py writes; tox prints them, too, far above.
FAILURES = .tox/*/failures.txt
SHOW_FAILURES = tail -n 60 $(FAILURES) 2>/dev/null || echo 'No test failed: see what tox says.'

.PHONY: help demo demo-live demo-app demo-dr demo-dr-fake test test-faults \
	test-volumes test-recovery test-tempest test-nova-compat test-releases \
	test-all \
	bench bench-quick clean

help:
	@echo 'make demo       start a real OpenStack, quiesce and unquiesce servers'
	@echo 'make demo-live  the same with real guests (root; see bindep.txt)'
	@echo 'make demo-app   snapshot an application, on real volumes (the same)'
	@echo 'make demo-dr    lose a site, start its application at another (the same)'
	@echo 'make demo-dr-fake  the same without real guests, and without root'
	@echo 'make test       style, types, documentation, the tests that CI runs'
	@echo 'make test-faults  kill every process of a cloud at every step'
	@echo 'make test-volumes  snapshot sets of real guests on real volumes'
	@echo 'make test-recovery  backups and restores, on two sites'
	@echo 'make test-tempest  tempest on a cloud with us, and on one without'
	@echo 'make test-nova-compat  the same with functional tests of Nova'
	@echo 'make test-releases  unit and functional tests with each release'
	@echo 'make test-all   all of these (80 minutes); CI does only make test'
	@echo 'make bench      measure how long servers are frozen (root; 40 minutes)'
	@echo 'make bench-quick  a little of that, without real guests'
	@echo 'make clean      stop the demos and delete what these have made'

demo: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute.'
	@.venv/bin/tox run -q -e demo

demo-live: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute.'
	@.venv/bin/tox run -q -e demo-live

demo-app: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute.'
	@.venv/bin/tox run -q -e demo-app

demo-dr: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute.'
	@.venv/bin/tox run -q -e demo-dr

demo-dr-fake: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute.'
	@.venv/bin/tox run -q -e demo-dr-fake

test: .venv/ready
	$(RUN) $(TESTS) || { code=$$?; $(SHOW_FAILURES); exit $$code; }
	$(SHOW_FAULTS)

test-volumes: .venv/ready
	.venv/bin/tox run -e scenario_ceph

test-recovery: .venv/ready
	.venv/bin/tox run -e recovery,recovery-swift

test-tempest: .venv/ready
	.venv/bin/tox run -e tempest

test-nova-compat: .venv/ready
	.venv/bin/tox run -e nova-compat

test-faults: .venv/ready
	rm -f $(FAULTS)
	.venv/bin/tox run -e faults
	.venv/bin/tox run -e scenario -- scenario.test_compute
	$(WRITE_FAULTS)

# The table is written also when a test has failed.
test-releases: .venv/ready
	rm -f $(RESULTS)
	$(RUN) '$(RELEASES)'; code=$$?; $(SHOW_RELEASES) || code=1; \
	[ $$code = 0 ] || { $(SHOW_FAILURES); }; exit $$code

test-all: .venv/ready
	rm -f .tox/functional/functional.json $(RESULTS) $(FAULTS)
	$(RUN) '$(ALL)'; code=$$?; [ $$code != 0 ] || $(WRITE_FAULTS) || :; $(SHOW_RELEASES) || code=1; \
	[ $$code = 0 ] || { $(SHOW_FAILURES); }; exit $$code

bench: .venv/ready
	.venv/bin/tox run -e bench

bench-quick: .venv/ready
	.venv/bin/tox run -e bench-quick

.venv/ready: bindep.txt constraints/2026.2.txt tools/prepare.py
	$(PYTHON) tools/prepare.py .venv
	touch $@

clean:
	[ ! -x .tox/demo/bin/python ] || .tox/demo/bin/python -m minicloud down --purge
	[ ! -x .tox/demo-live/bin/python ] || .tox/demo-live/bin/python -m minicloud down --purge --root .minicloud-live
	[ ! -x .tox/demo-app/bin/python ] || .tox/demo-app/bin/python -m minicloud down --purge --root .minicloud-app
	for kind in dr dr-fake; do for site in siteA siteB; do \
		[ ! -x .tox/demo-$$kind/bin/python ] || .tox/demo-$$kind/bin/python -m minicloud down --purge --root .minicloud-$$kind/$$site || exit 1; \
	done; done
	rm -rf .minicloud-dr .minicloud-dr-fake
	rm -rf .venv .tox .stestr .hypothesis .coverage cover doc/build build *.egg-info
