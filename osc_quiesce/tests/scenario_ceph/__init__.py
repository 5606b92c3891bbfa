# SPDX-License-Identifier: Apache-2.0

"""Snapshot sets of real guests on Ceph volumes."""
