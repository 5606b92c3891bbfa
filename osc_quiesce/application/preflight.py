# SPDX-License-Identifier: Apache-2.0

"""Everything that can fail is found out here, before the first freeze.

It only reads, but for requests that cannot have an effect, since they are
about what cannot exist: to quiesce a server, which tells whether servers may
stay frozen for as long as is asked for; and, with access rules, what is asked
of Cinder only when servers are frozen or were.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import logging
from typing import Any, Final
import uuid

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import inspector
from osc_quiesce.application import labels
from osc_quiesce.application import quotas as quota_rules
from osc_quiesce.application import snapshot_sets
from osc_quiesce.application import spec
from osc_quiesce.application.plan import Plan, name_problems
from osc_quiesce import client as quiesce_client
from osc_quiesce import concurrency
from osc_quiesce import errors as quiesce_errors
from osc_quiesce.i18n import _
from osc_quiesce import model

LOG = logging.getLogger(__name__)

NO_SERVER: Final = model.Server(str(uuid.UUID(int=0)))
_NO_ID: Final = NO_SERVER.id
# What is asked of Cinder after the plan: method, path and body
_LATER: Final[tuple[tuple[str, str, Any], ...]] = (
    ('POST', '/snapshots', {'snapshot': {'volume_id': _NO_ID, 'force': True}}),
    ('GET', f'/snapshots/{_NO_ID}', None),
    ('POST', f'/snapshots/{_NO_ID}/metadata', {'metadata': {}}),
    ('DELETE', f'/snapshots/{_NO_ID}', None))


def make(client: quiesce_client.Client, cloud: cloud_api.Cloud, name: str,
         application: spec.Application, unquiesce_after: int,
         allow_local_disk: bool = False, with_user_data: bool = False,
         description: str = '',
         properties: Mapping[str, str] | None = None) -> Plan:
    """Check everything, change nothing, and return a plan.

    :param name, description, properties: see :class:`.plan.Plan`
    :param unquiesce_after: seconds, for servers without a time of their own
    :param allow_local_disk: whether servers with a root or ephemeral disk
        that is not a volume are taken as well
    :param with_user_data: whether to record it; it may hold secrets
    :returns: a plan, perhaps with refusals
    :raises cloud.CloudError: Cinder cannot be asked
    :raises osc_quiesce.errors.QuiesceError: Nova cannot be asked
    """
    times = [member.unquiesce_after or unquiesce_after
             for stage in application.stages for member in stage]
    problems = _api_problems(client, max(times))
    found = _find_servers(client, application, problems)
    members = frozenset(server_id for _n, _m, server_id in found)
    limits = (unquiesce_after, allow_local_disk, with_user_data)
    reader = inspector.Inspector(client, cloud, members, *limits)
    servers = concurrency.run_all(lambda item: reader.read(item[0], *item[1]),
                                  enumerate(found), threads=cloud_api.THREADS)
    plan = Plan(name, application.name, tuple(servers),
                description=description, properties=properties or {})
    if servers and not plan.snapshots:
        problems.append(_('There is no volume to take a snapshot of.'))
    before = client.timer.until_answered(
        lambda: snapshot_sets.find_all(cloud))
    problems += [*labels.problems(plan), *_rule_problems(client, cloud),
                 *_quota_problems(client, cloud, plan),
                 *name_problems(before, name)]
    return dataclasses.replace(
        plan, problems=tuple(problems),
        sets_before=frozenset(each.id for each in before))


def _find_servers(client: quiesce_client.Client, application: spec.Application,
                  problems: list[str]) -> list[tuple[int, spec.Member, str]]:
    """Return the stage and the UUID of each member.

    :param problems: is given why servers were not found
    """
    found: list[tuple[int, spec.Member, str]] = []
    for number, stage in enumerate(application.stages):
        for member in stage:
            try:
                server_id = client.find_server(member.server).id
            except quiesce_errors.QuiesceError as exc:
                problems.append(str(exc))
                continue
            if server_id in (id_ for _n, _m, id_ in found):
                problems.append(_('Server %s is named twice.') % model.label(
                    server_id, member.server))
                continue
            found.append((number, member, server_id))
    return found


def _api_problems(client: quiesce_client.Client,
                  unquiesce_after: int) -> list[str]:
    try:
        client.freezes([NO_SERVER.id])
        client.timer.until_answered(lambda: client.api.quiesce(
            NO_SERVER, model.new_request_id(), unquiesce_after))
    except quiesce_errors.ServerNotFound:
        pass
    except quiesce_errors.Refused as exc:
        return [_('This cloud would refuse every server: %s') % ' '.join(
            part.rstrip('.') + '.' for part in (exc.why, exc.advice) if part)]
    except quiesce_errors.QuiesceError as exc:
        return [_('The quiesce API cannot be used: %s.') % exc.why.rstrip('.')]
    try:
        services = client.timer.until_answered(
            lambda: client.api.read('/os-services?binary=nova-quiesce'))
    except quiesce_errors.QuiesceError:
        return []  # only administrators may see them
    if not any(each['state'] == 'up' for each in services['services']):
        return [_('No nova-quiesce service is up.')]
    return []


def _rule_problems(client: quiesce_client.Client,
                   cloud: cloud_api.Cloud) -> Iterator[str]:
    """Yield what the access rules of a credential do not allow."""
    for later in _LATER if cloud.is_restricted else ():
        method, path, _body = later
        try:
            client.timer.until_answered(
                functools.partial(cloud.volume, *later))
        except cloud_api.CloudError as exc:
            if exc.is_transient:
                raise
            if exc.status == 401:
                yield _('The access rules of your application credential do '
                        'not allow %(method)s %(path)s of Cinder.') % {
                            'method': method,
                            'path': path.replace(_NO_ID, '*')}


def _quota_problems(client: quiesce_client.Client, cloud: cloud_api.Cloud,
                    plan: Plan) -> list[str]:
    needed: dict[str, int] = {}
    for _server, volume in plan.snapshots:
        for key, amount in (('snapshots', 1), ('gigabytes', volume['size'])):
            for quota in (key, f'{key}_{volume["type"]}'):
                needed[quota] = needed.get(quota, 0) + amount
    try:
        quotas = client.timer.until_answered(lambda: cloud.volume(
            'GET', f'/os-quota-sets/{cloud.project_id}?usage=True'
        )['quota_set'])
    except cloud_api.CloudError as exc:
        if exc.status in (401, 403):
            LOG.warning(_("Cinder's quota could not be checked: %s"), exc)
            return []
        return [_("Cinder's quota cannot be read: %s.") % str(exc).rstrip('.')]
    return [_("Cinder's quota %(key)s is too small: %(amount)d needed, "
              '%(left)d of %(limit)d left.') % dataclasses.asdict(each)
            for each in quota_rules.shortages(quotas, needed)]
