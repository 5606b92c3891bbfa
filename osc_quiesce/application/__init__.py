# SPDX-License-Identifier: Apache-2.0

"""Consistent snapshots of applications: groups of servers with volumes.

``spec`` describes the application (``documents`` reads its file).
``preflight`` checks everything that can be checked before a server is frozen
(``inspector``, ``manifest``, ``network``, ``quotas``), and makes a ``plan``.
``create`` freezes, takes the snapshots (``taking``) and thaws. ``contention``
decides who goes first if several want the same servers. ``snapshot_sets``
keeps what is known of a set where it belongs: in the metadata of the snapshots
in Cinder, which ``labels`` and ``metadata`` write.

``cloud`` sends the requests to Cinder and other services. ``choosing`` finds
what a user has named. ``errors`` has the errors.
"""
