# SPDX-License-Identifier: Apache-2.0

"""Another site, at which backups are made known as soon as they are there.

Their records are imported, with all that they need and that is not known
there yet, each as a backup of the target volume of its source volume. Data do
not move: both sites see the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import failures
from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records
from osc_quiesce.recovery import resolved
from osc_quiesce.recovery import resolving
from osc_quiesce.recovery import site as sites
from osc_quiesce.recovery import targets
from osc_quiesce.recovery import waiting
from osc_quiesce import retry

#: seconds for an imported backup to become available
IMPORT_TIMEOUT: Final = 120.0
#: how often a set is marked there
_SEALS: Final = 5
#: seconds after which it is looked whether the marks are still there
_SETTLE_TIME: Final = 1.0


@dataclasses.dataclass(frozen=True)
class Need:
    """What a command registers.

    :param owner: ID of the project that has made it
    :param servers: what is recorded of them
    :param sizes: GiB that each source volume has now
    :param rows: how many backups it imports
    :param gigabytes: the sizes of these
    """

    application: str
    owner: str
    servers: Sequence[Mapping[str, Any]]
    sizes: Mapping[str, int]
    rows: int
    gigabytes: int


class Destination:
    """The other site.

    :param name: what messages call it
    :param mapping: None: no target volumes, the records stay as they are
    :param read: returns the record of a backup; see :func:`bundles.reader`
    :param announce: is told the ID of each backup before it is imported
    """

    def __init__(
            self, cloud: cloud_api.Cloud, name: str,
            mapping: mappings.Mapping | None,
            read: Callable[[str], records.Record], timer: retry.Timer,
            progress: Callable[[str], object] = lambda sentence: None,
            announce: Callable[[str], object] = lambda id_: None) -> None:
        self.cloud = cloud
        self.name = name
        self._mapping = mapping
        self._read = read
        self._timer = timer
        self._progress = progress
        self._announce = announce
        self._waiter = waiting.Waiter(cloud, timer, IMPORT_TIMEOUT)
        self._site = sites.Site(cloud)
        self._volumes: list[resolved.Volume] = []
        self._targets: Mapping[str, Mapping[str, Any]] = {}
        self._rows: dict[str, str] = {}
        self._places: dict[str, str | None] = {}

    @property
    def has_mapping(self) -> bool:
        return self._mapping is not None

    def known(self) -> set[str]:
        """Return the IDs of the backups that are usable there."""
        self._rows = {each['id']: each['volume_id']
                      for each in self.cloud.backups()
                      if backup_sets.is_there(each)}
        return set(self._rows)

    def needs_full(self, volume_id: str, line: Iterable[str]) -> bool:
        """Return whether an incremental backup could not be used there.

        What it needs is there as backups of another volume, such as an
        earlier target volume: Cinder would refuse to delete these, and
        nothing would tell by what they are needed. Ask for problems before.

        :param line: the IDs of what it needs
        """
        return any(
            self._rows[each] != self._places.get(volume_id, self._rows[each])
            for each in line if each in self._rows)

    def has_volume(self, volume_ids: Iterable[str]) -> bool:
        """Return whether one of these volumes is there.

        A site has several URLs, and its volumes by all of them.

        :raises cloud_api.CloudError: the site cannot be asked
        """
        def look(volume_id: str) -> bool:
            try:
                self.cloud.volume('GET', f'/volumes/{volume_id}')
            except cloud_api.NotThere:
                return False
            return True

        return any(concurrency.run_all(
            look, list(volume_ids), threads=cloud_api.THREADS))

    def problems(self, need: Need) -> list[str]:
        """Return every reason why backups cannot be registered; only read.

        :raises cloud_api.CloudError: the site cannot be asked
        """
        found = capacity.service_problems(self.cloud, self.name)
        if not records.may_import(self.cloud):
            found.append(
                _('You may not import backups at %s: that needs the role '
                  'admin in the project that is to have them, unless the '
                  'policy there says otherwise.') % self.name)
        if self._looks_own(need):
            found.append(
                _('The backups would count as made at %(site)s, and could be '
                  'deleted there with the only data: the project has the ID '
                  '%(project)s at both sites. Use --mapping in place of '
                  '--no-target-volumes.') % {
                      'site': self.name, 'project': need.owner})
        missing = self._resolve(need, found)
        found += capacity.quota_problems(
            self.cloud,
            {'backups': need.rows,
             'backup_gigabytes': need.gigabytes,
             'volumes': len(missing),
             'gigabytes': sum(each.size for each in missing)},
            self.name)
        return found

    def _looks_own(self, need: Need) -> bool:
        """Return whether nothing tells that backups are of another site.

        One Keystone for both is enough for that, without target volumes.
        """
        return (self._mapping is None
                and need.owner == self.cloud.project_id
                and not self.has_volume(need.sizes))  # they are its own

    def _resolve(self, need: Need,
                 problems: list[str]) -> list[resolved.Volume]:
        """Return the volumes that have no target volume yet.

        :param problems: is given what the mapping lacks, and which volumes
            share a target volume
        """
        if self._mapping is None:
            self._places = {id_: id_ for id_ in need.sizes}
            return []
        resolution = resolving.resolve(self._site, self._mapping, need.servers,
                                       need.application, checks_use=False)
        problems += resolution.refusals
        self._volumes = [
            # Cinder gives a backup the size that the volume has now.
            dataclasses.replace(each, size=need.sizes.get(id_, each.size))
            for id_, each in resolution.volumes.items() if id_ in need.sizes]
        if resolution.refusals:
            return []
        there = targets.everything(self.cloud)
        found = {each.id: targets.find(self._site, each, there)
                 for each in self._volumes}
        self._places = {id_: target['id'] if target else None
                        for id_, target in found.items()}
        problems += targets.clashes(
            {id_: target['id'] for id_, target in found.items() if target},
            {each.id: each.label for each in self._volumes},
            need.application, self.cloud.backups())
        return [each for each in self._volumes if found[each.id] is None]

    def prepare(self) -> None:
        """Make the target volumes that are missing.

        :raises errors.ApplicationError: one cannot be made
        """
        if self._mapping is not None:
            self._targets = targets.ensure(
                self._site, self._volumes, self._timer,
                progress=self._progress)

    def register(self, backup_id: str) -> None:
        """Make a backup known, and all that it needs; wait until it is.

        May be repeated as often as one likes.

        :raises errors.ApplicationError: it is not
        """
        for record in chains.ancestors(backup_id, self._read):
            if record.id not in self._rows:
                self._import(record)

    def seal(self, set_id: str, backups: Iterable[Mapping[str, Any]],
             values: Mapping[str, str]) -> None:
        """Write on backups there what is written on them here.

        A proof there writes all the metadata of a backup, as it has read them
        a moment before. So it is looked whether they are still there after a
        while.

        :raises errors.ApplicationError: the set there is not consistent
        """
        wanted = list(backups)
        attempts = 0
        while self._waiter.repeat(lambda: self._state(
                set_id, values)) != backup_sets.CONSISTENT:
            if attempts == _SEALS:
                raise errors.ApplicationError(
                    _('the set at %(site)s is %(state)s, though it was marked '
                      '%(count)d times') % {
                          'site': self.name,
                          'state': self._state(set_id, values),
                          'count': attempts})
            attempts += 1
            self._waiter.repeat(
                lambda: backup_sets.mark(self.cloud, wanted, values))
            self._timer.sleep(_SETTLE_TIME)

    def _state(self, set_id: str, values: Mapping[str, str]) -> str:
        """Return the state of a set there; PENDING if these are missing."""
        found = backup_sets.find(self.cloud, set_id)
        is_written = all(
            metadata.get(each, key) == value
            for each in found.backups for key, value in values.items())
        if found.state == backup_sets.CONSISTENT and not is_written:
            return backup_sets.PENDING
        return found.state

    def _import(self, record: records.Record) -> None:
        target = self._targets.get(record.volume_id) or self._targets.get(
            metadata.get(record.data, backup_sets.SOURCE_VOLUME))
        try:
            if target:
                _check_size(record, target)
                record = record.for_volume(str(target['id']))
            if metadata.get(record.data, backup_sets.KNOWN_AT) != self.name:
                self._waiter.repeat(lambda: self._announce(record.id))
            # It may be repeated: one that is there is no error.
            there = self._waiter.repeat(
                lambda: records.import_(self.cloud, record))
            if there is not None and records.is_left(there):
                self._remove(record.id)
                self._waiter.repeat(
                    lambda: records.import_(self.cloud, record))
            self._wait(record)
            self._rows[record.id] = record.volume_id
        except errors.ApplicationError as exc:
            raise errors.ApplicationError(
                _('Backup %(id)s is not registered at %(site)s: %(why)s. It '
                  'is kept where it is.') % {
                      'id': record.id, 'site': self.name,
                      'why': str(exc).rstrip('.')}) from exc

    def _remove(self, backup_id: str) -> None:
        """Delete what an import that has failed has left.

        No other row may be deleted: that would delete the data.
        """
        waiting.ask_to_delete(self.cloud, backup_id)
        self._waiter.gone(
            lambda: self._waiter.read_backup(backup_id),
            _('what is left of an earlier import is still there'))

    def _wait(self, record: records.Record) -> None:
        """Wait until a backup is imported, and check that it is there."""
        try:
            row = self._waiter.backup(record.id, {'creating', 'deleting'}, {
                'id': record.id, 'status': 'creating'})
        except cloud_api.NotThere as exc:
            raise errors.ApplicationError(_('it has vanished there')) from exc
        if row['status'].startswith('error') and not metadata.get(
                row, marks.HIDDEN_BY):
            why = failures.said(row) or _('its status is error')
            raise errors.ApplicationError(why if records.is_left(row) else _(
                '%(why)s; if the store has its data, an administrator makes '
                'it usable there with "openstack volume backup set --state '
                'available %(id)s"') % {
                    'why': why.rstrip('.'), 'id': record.id})
        if not backup_sets.is_there(row):
            raise errors.ApplicationError(
                _('its status is %s') % backup_sets.status_of(row))
        if row['volume_id'] != record.volume_id or not self._is_ours(row):
            raise errors.ApplicationError(
                _('it is there already, but in another project, or as a '
                  'backup of volume %s') % row['volume_id'])

    def _is_ours(self, row: Mapping[str, Any]) -> bool:
        """Return whether a backup is one of the project."""
        project: str | None = row.get('os-backup-project-attr:project_id')
        if project is not None:    # to administrators only, by default
            return project == self.cloud.project_id
        return self._waiter.repeat(lambda: any(
            each['id'] == row['id'] for each in self.cloud.backups(
                volume_id=row['volume_id'])))


def _check_size(record: records.Record, target: Mapping[str, Any]) -> None:
    """Check that a backup can be restored into a volume, and compared there.

    Cinder gives a backup the size that the volume has when it is begun.

    :raises errors.ApplicationError: a part of a sentence
    """
    if record.size != target['size']:
        raise errors.ApplicationError(
            _('it has %(size)d GiB, and its target volume %(target)s has '
              '%(there)d GiB, since the source volume has just grown; the '
              'same command again makes another target volume') % {
                  'size': record.size, 'target': target['id'],
                  'there': target['size']})
