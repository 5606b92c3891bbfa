# SPDX-License-Identifier: Apache-2.0

"""Deployments as they are: cells, quorum queues, MariaDB, a rolling update."""
