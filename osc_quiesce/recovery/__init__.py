# SPDX-License-Identifier: Apache-2.0

"""Backups of applications, and the other site where they are restored.

Cinder's own backups are the only carrier: all that is known is in the metadata
of backups, volumes and servers, so that the same command again continues from
any machine. Each command checks all of its plan before it makes anything.

A backup: ``backup_preflight`` makes a ``backup_plan`` (``chains`` chooses full
or incremental, ``backup_problems`` and ``capacity`` find what is missing);
``backup`` makes the ``backup_sets``, each backup by ``backup_tasks``, whose
failures are read by ``failures``; ``registration`` makes them known at the
other site, with ``targets`` and ``records``, or ``bundles`` and ``importing``
if no network reaches it. ``retention`` and ``deleting`` delete them
(``retention_last``: which sets are the last ones; ``retention_site``: what a
site has that matters to a deletion).

A restore: ``points`` finds the set; ``skeleton`` writes a ``mapping``, and
``resolving`` looks for each of its names at the ``site`` (``rows``, ``ports``,
``losses``); ``restore_preflight`` makes a ``restore_plan`` (``room``,
``split_brain``) of ``resolved`` servers and volumes; ``restore`` carries it
out: ``filling`` restores volumes, ``furnishing`` gives them the properties of
their sources, ``proof`` compares them by ``proof_backups``, and ``verdicts``
writes what it has found; ``booting`` makes servers, and ``checking`` asks
whether they work. ``report`` has what was done.
``restores`` finds restores again by their ``marks``. ``drill`` does the same
with clones.

What is sure before a disaster: ``verifying`` looks at chains; ``stores``,
``backup_check``, ``chunks``, ``unpacking`` and ``reading`` look into a store;
``protection`` and ``openmetrics`` tell how old the newest set is.

``waiting`` polls Cinder and Nova until something is so, by ``listings``.
``files`` writes a file whole or not at all.
"""
