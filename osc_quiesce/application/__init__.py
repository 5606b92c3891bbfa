# SPDX-License-Identifier: Apache-2.0

"""Consistent snapshots of applications: groups of servers with volumes.

``spec`` says what the application is, ``plan`` checks everything that can be
checked before a server is frozen, ``create`` freezes, takes the snapshots and
thaws, ``turns`` decides who goes first if several want the same servers, and
``sets`` keeps what is known of a snapshot set where it belongs: in the
metadata of the snapshots in Cinder.
"""
