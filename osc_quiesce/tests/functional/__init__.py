# SPDX-License-Identifier: Apache-2.0

"""Tests against a real Nova.

``osc_quiesce/tests/contract.py`` also runs against the fake one of the unit
tests.

They need a minicloud in ``$MINICLOUD_ROOT`` and are run in it by ``tox -e
functional``.
"""
