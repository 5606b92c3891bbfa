# SPDX-License-Identifier: Apache-2.0

"""What no backup of volumes can bring back, named one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from osc_quiesce.i18n import _

# Of a flavor: what is a device of a host, or belongs to one.
# Source: "Extra specs" in Nova's user guide.
_DEVICES: Final = ('pci_passthrough:', 'accel:', 'resources:VGPU',
                   'resources:CUSTOM_', 'hw:pmem')


def of(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a server cannot get back: what it is, and why."""
    flavor = manifest['flavor']
    specs = flavor.get('extra_specs') or {}
    image = {
        **_boot_image(manifest), **(manifest.get('image_properties') or {})}
    if manifest.get('image'):
        yield _('root disk'), _('local, so a new one from the image')
    if flavor.get('ephemeral'):
        yield _('ephemeral disk'), _('%d GiB, local') % flavor['ephemeral']
    if flavor.get('swap'):
        yield _('swap disk'), _('%d MiB, local') % flavor['swap']
    if specs.get('hw:tpm_version') or image.get('hw_tpm_version'):
        yield _('vTPM'), _('its state, and what is sealed with it')
    if image.get('hw_firmware_type') == 'uefi':
        yield _('UEFI variables'), _('boot entries and enrolled keys')
    for key in sorted(specs):
        if key.startswith(_DEVICES):
            yield _('device'), f'{key}={specs[key]}'
    if manifest.get('ports') is None:
        yield _('ports'), _('not recorded: it gets none')


def flavor_text(flavor: Mapping[str, Any]) -> str:
    """Return what a table says of a flavor."""
    if flavor.get('vcpus') is None:
        return str(flavor['name'])
    text = _('%(name)s (%(vcpus)s vCPU, %(ram)s MiB)') % {
        'name': flavor['name'], 'vcpus': flavor['vcpus'], 'ram': flavor['ram']}
    specs = flavor.get('extra_specs') or {}
    return ' '.join([text, *(f'{k}={specs[k]}' for k in sorted(specs))])


def _boot_image(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    for volume in manifest['volumes']:
        if volume.get('boot_index') == 0:
            return volume.get('image_metadata') or {}
    return {}
