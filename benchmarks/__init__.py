# SPDX-License-Identifier: Apache-2.0

"""How long servers are frozen, and what waiting and growth cost.

``python -m benchmarks`` measures on clouds of minicloud, ``python -m
benchmarks window`` on any cloud that has nova_quiesce. See README.rst.
"""
