# Both targets create what they need: a virtual environment with tox here in
# .venv, and those of tox in .tox.

PYTHON ?= python3
TESTS = pep8,mypy,client,py3,docs,functional

.PHONY: help demo test clean

help:
	@echo 'make demo   start a real OpenStack, and quiesce and unquiesce servers'
	@echo 'make test   style, types, unit tests, documentation, functional tests'
	@echo 'make clean  stop the demo and delete what these have made'

demo: .venv/ready
	@echo 'The first time, packages are installed; that takes a minute or two.'
	@.venv/bin/tox run -q -e demo

test: .venv/ready
	.venv/bin/tox run -e $(TESTS)

.venv/ready: bindep.txt constraints.txt tools/prepare.py
	$(PYTHON) tools/prepare.py .venv
	touch $@

clean:
	[ ! -x .tox/demo/bin/python ] || .tox/demo/bin/python -m minicloud down --purge
	rm -rf .venv .tox .stestr .coverage cover doc/build build *.egg-info
