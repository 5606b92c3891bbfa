# SPDX-License-Identifier: Apache-2.0

"""Tests against a real Nova: one per sentence of the contract.

They need a minicloud in ``$MINICLOUD_ROOT`` and are run in it by ``tox -e
functional``.
"""
