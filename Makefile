# Start here:
#
#   make          list all targets
#   make demo     start a real OpenStack, quiesce and unquiesce servers
#   make test     everything that CI runs
#   make check    three fast checks, before each commit
#   make docs     build the documentation, in doc/build/html
#
# No target installs anything outside this directory. What they run, and with
# what, is in tools/tests.mk and tox.ini; tools/README.rst describes the scripts.

PYTHON ?= python3
include tools/tests.mk

.DEFAULT_GOAL = help
.PHONY: help demo demo-live demo-app demo-dr demo-dr-fake check docs test \
	test-faults test-volumes test-recovery test-disaster test-tempest test-nova-compat \
	test-releases test-all bench bench-quick clean

help:
	@echo 'make demo       start a real OpenStack, quiesce and unquiesce servers'
	@echo 'make demo-live  the same with real guests (root; see bindep.txt)'
	@echo 'make demo-app   snapshot an application, on real volumes (root)'
	@echo 'make demo-dr    lose a site, start its application at another (root)'
	@echo 'make demo-dr-fake  the same without real guests, and without root'
	@echo 'make check      style, types, unit tests: before each commit (2 minutes)'
	@echo 'make docs       the documentation, in doc/build/html'
	@echo 'make test       style, types, documentation, the tests that CI runs'
	@echo 'make test-faults  kill each process of a cloud at each step of a quiesce'
	@echo 'make test-volumes  snapshot sets of real guests on real volumes (root)'
	@echo 'make test-recovery  backups and restores, on two sites'
	@echo 'make test-disaster  real guests lose their site and come home, 5 times (root)'
	@echo 'make test-tempest  tempest on a cloud with osc-quiesce, and without it'
	@echo 'make test-nova-compat  functional tests of Nova, with osc-quiesce and without'
	@echo 'make test-releases  unit and functional tests with each release'
	@echo 'make test-all   all tests but test-disaster; CI does only make test'
	@echo 'make bench      measure freezes, backups and restores (root; 80 minutes)'
	@echo 'make bench-quick  a little of that, without real guests'
	@echo 'make clean      stop the demos, delete what these have made, .venv and .tox'

demo demo-live demo-app demo-dr demo-dr-fake: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute.'
	@.venv/bin/tox run -q -e $@

check: .venv/ready
	.venv/bin/tox run -e pep8,mypy,py3

docs: .venv/ready
	.venv/bin/tox run -e docs

test: .venv/ready
	$(RUN) $(TESTS) || { code=$$?; $(SHOW_FAILURES); exit $$code; }
	$(SHOW_FAULTS)

test-volumes: .venv/ready
	.venv/bin/tox run -e scenario_ceph

test-recovery: .venv/ready
	rm -f $(RECOVERY)
	.venv/bin/tox run -e recovery,recovery-swift,recovery-s3-2026.1
	$(WRITE_RECOVERY)

test-disaster: .venv/ready
	.venv/bin/tox run -e disaster

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
	rm -f .tox/functional/functional.json $(RESULTS) $(FAULTS) $(RECOVERY)
	$(RUN) '$(ALL)'; code=$$?; [ $$code != 0 ] || $(WRITE_FAULTS) || :; \
	[ $$code != 0 ] || $(WRITE_RECOVERY) || :; $(SHOW_RELEASES) || code=1; \
	[ $$code = 0 ] || { $(SHOW_FAILURES); }; exit $$code

bench: .venv/ready
	.venv/bin/tox run -e bench

bench-quick: .venv/ready
	.venv/bin/tox run -e bench-quick

# Any environment of a demonstration or a test can stop the cloud of another.
CLOUDS = demo demo-live demo-app demo-dr demo-dr-fake disaster functional
STOP = PYTHONPATH=. $(firstword $(wildcard $(CLOUDS:%=.tox/%/bin/python)) python3) -m minicloud down --purge
clean:
	for root in .minicloud .minicloud-live .minicloud-app \
			.minicloud-dr/site? .minicloud-dr-fake/site?; do \
		[ ! -d $$root ] || $(STOP) --root $$root || exit 1; \
	done
	rm -rf .minicloud-dr .minicloud-dr-fake
	rm -rf .venv .tox .stestr .hypothesis .coverage cover doc/build build *.egg-info
