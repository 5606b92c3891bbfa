# SPDX-License-Identifier: Apache-2.0

"""Make quiesced servers known to the versioned notifications of a process.

It is imported by nova-api and nova-quiesce, and where nova.conf says so also
by nova-compute and nova-conductor::

    [oslo_messaging_notifications]
    driver = messagingv2
    driver = nova_quiesce

oslo.messaging loads drivers when a service of Nova starts, before it has any
object.  So this module must never import more of Nova than the fields, and
must never fail where those are as they were.
"""

from typing import Any

from nova.objects import fields
from oslo_messaging.notify import notifier

from nova_quiesce import states

#: name of the driver in ``[oslo_messaging_notifications]driver``
DRIVER = 'nova_quiesce'
#: what nova-quiesce calls itself in notifications
SOURCE = 'nova-quiesce'

_ADDITIONS: tuple[tuple[type[fields.BaseEnumField], tuple[str, ...]], ...] = (
    (fields.InstanceStateField, (states.QUIESCED,)),
    (fields.InstanceTaskStateField, (states.QUIESCING, states.UNQUIESCING)),
    (fields.NotificationActionField, states.ACTION_NAMES),
    (fields.NotificationSourceField, (SOURCE,)),
)


def register() -> None:
    """Make states, actions and service valid in this process's notifications.

    Without it the versioned notification of a state change, of the hourly
    audit, or of the first start of nova-quiesce, raises ``ValueError``. It
    can be called any number of times.
    """
    for field, values in _ADDITIONS:
        enum = field.AUTO_TYPE
        enum._valid_values = (*enum._valid_values, *(
            value for value in values if value not in enum._valid_values))


class Driver(notifier.Driver):  # type: ignore[misc]
    """Sends nothing: to import it is all that it is for."""

    def notify(self, ctxt: Any, msg: Any, priority: str, retry: int | None,
               ) -> None:
        """Do nothing, since the drivers beside this one send."""


register()
