# SPDX-License-Identifier: Apache-2.0

"""Consistent snapshots of applications: groups of servers with volumes.

``spec`` describes the application, ``preflight`` checks everything that can
be checked before a server is frozen (``inspector``, ``manifest``), and makes a
``plan``; ``create`` freezes, takes the snapshots (``taking``) and thaws;
``contention`` decides who goes first if several want the same servers; and
``snapshot_sets`` keeps what is known of a set where it belongs: in the
metadata of the snapshots in Cinder.
"""
