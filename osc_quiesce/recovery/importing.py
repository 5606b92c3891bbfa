# SPDX-License-Identifier: Apache-2.0

"""Making the backup set of a bundle known at a site."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import bundles
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import records
from osc_quiesce.recovery import registration


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a command imports.

    :param missing: the records that are not known at the site yet
    :param problems: why it cannot be done; empty if it can
    """

    bundle: bundles.Bundle
    missing: tuple[records.Record, ...]
    problems: tuple[str, ...]


def plan(bundle: bundles.Bundle,
         destination: registration.Destination) -> Plan:
    """Check everything, change nothing, and return a plan.

    :raises errors.ApplicationError: the bundle is damaged, or the site cannot
        be asked
    """
    found = bundle.backup_set
    problems = []
    if not found.is_whole:
        problems.append(_('The bundle has %(there)d of the %(wanted)d backups '
                          'of set %(name)s.') % {
                              'there': sum(map(
                                  backup_sets.is_there, found.backups)),
                              'wanted': found.volumes, 'name': found.name})
    wanted: dict[str, records.Record] = {}
    for backup in found.backups:
        for record in chains.ancestors(backup['id'], bundle.read):
            wanted[record.id] = record
    known = destination.known()
    missing = tuple(e for e in wanted.values() if e.id not in known)
    sizes = {metadata.get(each, backup_sets.SOURCE_VOLUME): each['size']
             for each in found.backups}
    if destination.has_mapping and destination.has_volume(sizes):
        problems.append(
            _('Backup set %(name)s (%(id)s) is of volumes of this site, so '
              'they get no target volumes here: run the command at the other '
              'site, or use --no-target-volumes in place of --mapping if this '
              'site has lost its backups.') % {
                  'name': found.name, 'id': found.id})
    else:
        problems += destination.problems(registration.Need(
            found.application, found.owner, found.servers, sizes,
            len(missing), sum(each.size for each in missing)))
    return Plan(bundle, missing, tuple(problems))


def register(
    plan: Plan,
    destination: registration.Destination,
    progress: Callable[[str], object] = lambda sentence: None,
) -> backup_sets.BackupSet:
    """Import what is missing, and return the set as the site has it.

    May be repeated as often as one likes.

    :raises errors.ApplicationError: not all of it is known there
    """
    destination.prepare()
    backups = plan.bundle.backup_set.backups
    for number, backup in enumerate(backups):
        progress(_('Registering: %(done)d of %(all)d backups done ...') % {
            'done': number, 'all': len(backups)})
        destination.register(backup['id'])
    made = backup_sets.find(destination.cloud, plan.bundle.set_id)
    if (made.state == backup_sets.PENDING
            and plan.bundle.backup_set.state == backup_sets.CONSISTENT
            and backup_sets.DELETED not in {metadata.get(
                each, backup_sets.SEALED) for each in made.backups}):
        # A registration was interrupted before the bundle was made.
        made = _sealed(made, destination)
    if made.state != backup_sets.CONSISTENT:
        raise errors.ApplicationError(
            _('Backup set %(name)s (%(id)s) is %(state)s after the import. If '
              'its own site deletes it, import another set; if not, finish it '
              'there, export it again, and import it again.') % {
                  'name': made.name, 'id': made.id, 'state': made.state})
    return made


def _sealed(found: backup_sets.BackupSet,
            destination: registration.Destination) -> backup_sets.BackupSet:
    """Mark a set as consistent, and return it as the site has it then."""
    try:
        destination.seal(found.id, found.backups, {
            backup_sets.SEALED: backup_sets.CONSISTENT})
    except errors.ApplicationError as exc:
        raise errors.ApplicationError(
            _('Backup set %(name)s (%(id)s) is registered at %(site)s, but '
              'cannot be marked: %(why)s. Run the same command again.') % {
                  'name': found.name, 'id': found.id,
                  'site': destination.name,
                  'why': str(exc).rstrip('.')}) from exc
    return backup_sets.find(destination.cloud, found.id)
