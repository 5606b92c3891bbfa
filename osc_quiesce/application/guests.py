# SPDX-License-Identifier: Apache-2.0

"""Whether a guest can be quiesced, as far as Nova shows that.

It only reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib import parse

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import gatherer
from osc_quiesce.application import shared
from osc_quiesce import errors
from osc_quiesce.i18n import _

# OS-EXT-STS:power_state of a guest that does not run. Source: the server
# concepts in Nova's API guide.
_NOT_RUNNING: Final = {3: 'paused',
                       4: 'shutdown',
                       6: 'crashed',
                       7: 'suspended'}

# What the hypervisors call themselves whose drivers in Nova have no quiesce,
# or refuse it. Source: nova/virt, and _can_quiesce of its libvirt driver.
_CANNOT_QUIESCE: Final = frozenset({
    'ironic', 'VMware vCenter Server', 'zvm', 'LXC', 'Parallels', 'vz'})

# What Cinder calls the storage whose drivers have Nova make the snapshots of
# volumes in use. Source: the drivers that inherit _create_snapshot_online of
# cinder/volume/drivers/remotefs.py
_SNAPSHOTS_OF_NOVA: Final = frozenset({'nfs', 'quobyte', 'vzstorage'})
_ATTACHMENT_MICROVERSION: Final = '3.27'


def _is_yes(value: object) -> bool:
    """Return whether Nova takes a property of an image for a yes."""
    return str(value).lower() in ('true', 'yes', '1', 'on', 't', 'y')


class Guests:
    """Reads of guests and their hosts, and once what several share."""

    def __init__(self, nova: gatherer.Gatherer,
                 cloud: cloud_api.Cloud) -> None:
        self._gatherer = nova
        self._cloud = cloud
        self._types = shared.Shared()

    def host_problems(self, body: Mapping[str, Any]) -> list[str]:
        """Look at the host and the guest, as far as Nova shows them."""
        problems = []
        power_state = body.get('OS-EXT-STS:power_state')
        if power_state in _NOT_RUNNING:
            problems.append(_('has power_state %(number)d (%(name)s): its '
                              'guest must be running to be quiesced') % {
                                  'number': power_state,
                                  'name': _NOT_RUNNING[power_state]})
        if body.get('host_status') == 'DOWN':
            problems.append(_('is on host %s, whose nova-compute is down: '
                              'nobody could quiesce it') % body.get(
                                  'OS-EXT-SRV-ATTR:host'))
        hypervisor = body.get('OS-EXT-SRV-ATTR:hypervisor_hostname') or ''
        kind = hypervisor and self._types.read(
            hypervisor, lambda: self._hypervisor_type(hypervisor))
        if kind in _CANNOT_QUIESCE:
            problems.append(_('is on a hypervisor of type %s, which cannot '
                              'quiesce guests') % kind)
        return problems

    def _hypervisor_type(self, hostname: str) -> str | None:
        """Return what a hypervisor calls itself; None if Nova does not say."""
        query = parse.urlencode({'hypervisor_hostname_pattern': hostname})
        try:
            found = self._gatherer.nova(f'/os-hypervisors/detail?{query}')
        except errors.QuiesceError:
            return None
        for each in found['hypervisors']:
            if each['hypervisor_hostname'] == hostname:
                return str(each['hypervisor_type'])
        return None

    def agent_problems(self, body: Mapping[str, Any],
                       boot_image: Mapping[str, Any] | None) -> list[str]:
        """Look whether Nova knows that there is a guest agent.

        Nova decides by the properties that the server has of its image. They
        are not shown of a server that boots from a volume, but that volume
        has a copy. What cannot be read is no problem.

        :param boot_image: the image metadata of the boot volume
        """
        properties = self._properties(body, boot_image)
        if properties is None or _is_yes(properties.get(
                'hw_qemu_guest_agent')):
            return []
        if body.get('image'):
            return [_('cannot be quiesced: its image does not have the '
                      'property hw_qemu_guest_agent=yes')]
        return [_(
            'cannot be quiesced: the image of its boot volume does not have '
            'the property hw_qemu_guest_agent=yes (if the server has it all '
            'the same, give it to the volume as well, with "openstack volume '
            'set --image-property hw_qemu_guest_agent=yes <volume>")')]

    def second_freezes(self, body: Mapping[str, Any],
                       boot_image: Mapping[str, Any] | None,
                       volumes: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return of which volumes Nova would not make the snapshots.

        It freezes the guest for them, which fails while that is frozen, and
        goes on without, unless a property of the image forbids that.

        :param boot_image: the image metadata of the boot volume
        :param volumes: as Cinder shows them
        """
        properties = self._properties(body, boot_image) or {}
        if not _is_yes(properties.get('os_require_quiesce')):
            return []
        return [
            _('has the image property os_require_quiesce=yes, with which Nova '
              'makes no snapshot of volume %(id)s (on %(storage)s) while the '
              'guest is frozen: take it off the server, whose guest this '
              'command freezes anyway') % {
                  'id': volume['id'], 'storage': storage}
            for volume in volumes
            if (storage := self._storage(volume)) in _SNAPSHOTS_OF_NOVA]

    def _properties(
            self, body: Mapping[str, Any],
            boot_image: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return what the server has of its image; None if not known."""
        if body.get('image'):
            return self._gatherer.image_properties(body)
        return dict(boot_image or {}) or None

    def _storage(self, volume: Mapping[str, Any]) -> str | None:
        """Return how a volume is attached; None if Cinder does not show it."""
        for each in volume.get('attachments') or ():
            try:
                shown = self._cloud.volume(
                    'GET', f'/attachments/{each["attachment_id"]}',
                    microversion=_ATTACHMENT_MICROVERSION)['attachment']
            except (cloud_api.CloudError, KeyError):
                continue
            if kind := (shown.get('connection_info') or {}).get(
                    'driver_volume_type'):
                return str(kind)
        return None
