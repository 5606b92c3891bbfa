# SPDX-License-Identifier: Apache-2.0

"""The options of tempest.conf that the tests of quiescing have."""

from oslo_config import cfg

service_option = cfg.BoolOpt(
    'nova_quiesce',
    default=True,
    help='Whether Nova has the actions quiesce and unquiesce.')

quiesce_group = cfg.OptGroup(
    'quiesce', title='Options for tests of quiescing')

QuiesceGroup = [
    cfg.StrOpt(
        'image_ref',
        help='The id of the image of servers that can be quiesced: it has '
             'the property hw_qemu_guest_agent=yes, and its guest runs the '
             'QEMU guest agent. The default is [compute]image_ref.'),
    cfg.StrOpt(
        'image_ref_no_agent',
        help='The id of an image without that property. Without this '
             'option, tests of servers that cannot be quiesced are skipped.'),
    cfg.IntOpt(
        'max_unquiesce_after',
        default=86400,
        help='[quiesce]max_unquiesce_after of the cloud, in seconds.'),
    cfg.StrOpt(
        'record_pattern',
        default=r'^W \w+ (\d+) ',
        help='Regular expression for what the guest of image_ref says on its '
             'console when it has written a record to its disk; its group is '
             'the number of the record, one more each time.'),
    cfg.StrOpt(
        'heartbeat_pattern',
        default=r'^H (\d+) ',
        help='Regular expression for what that guest says on its console '
             'all the time, without writing to a disk; its group is a number '
             'that grows.'),
]

quiesce_feature_group = cfg.OptGroup(
    'quiesce_feature_enabled', title='Features of the cloud in quiescing')

QuiesceFeaturesGroup = [
    cfg.BoolOpt(
        'console_records',
        default=False,
        help='Whether the guest of image_ref is a real one that writes '
             'records to its disk all the time, and says so on its console.'),
]


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options by group, for samples and for the documentation."""
    return [('service_available', [service_option]),
            (quiesce_group.name, QuiesceGroup),
            (quiesce_feature_group.name, QuiesceFeaturesGroup)]
