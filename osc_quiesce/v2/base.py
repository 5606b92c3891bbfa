# SPDX-License-Identifier: Apache-2.0

"""What the commands of ``openstack`` have in common."""

import argparse
from collections.abc import Callable, Iterable, Sequence
import logging
import textwrap
import time
from typing import Any, Final
import unicodedata

from cliff import columns
import openstack
from osc_lib import exceptions as osc_exceptions

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors as application_errors
from osc_quiesce.application import spec
from osc_quiesce.cli import interrupts
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce.i18n import _

LOG = logging.getLogger(__name__)

# What a table of fields and values leaves of 100 columns
_WIDTH: Final = 76
# Characters in a path
_LONGEST: Final = 4096


class Command:
    """What all of them have in common."""

    app: Any

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            exit_code: int = super().run(parsed_args)  # type: ignore[misc]
            return exit_code
        except (application_errors.ApplicationError,
                errors.QuiesceError) as exc:
            raise osc_exceptions.CommandError(str(exc)) from exc

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    @property
    def _cloud(self) -> cloud_api.Cloud:
        return cloud_api.Cloud(self.app.client_manager.sdk_connection)

    @property
    def _client(self) -> quiesce_client.Client:
        client: quiesce_client.Client = self.app.client_manager.server_quiesce
        return client.with_sleep(self._sleep)


class Interruptible(Command):
    """A command that a signal stops between two requests.

    What is finished is kept, and the same command again continues. Once that
    is said, the command ends by the signal.
    """

    #: said on stderr at once
    STOPPING = _('stopping after the request under way; what is finished is '
                 'kept')
    #: said at the end
    STOPPED = _('Interrupted; what is finished is kept, Cinder goes on with '
                'what it has begun, and the same command again continues.')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._interrupts = interrupts.Interrupts()
        self._exit_code = 0

    def _sleep(self, seconds: float) -> None:
        self._interrupts.sleep(seconds)

    def _take_signals(self) -> None:
        self._interrupts.install(self.STOPPING, _('already stopping'))

    def _check_plan(self, problems: Sequence[str], dry_run: bool,
                    refused: str) -> None:
        """Show what is in the way of a plan; only a dry run goes on then.

        :param refused: says that nothing was done
        :raises osc_exceptions.CommandError: something is, and it is no dry run
        """
        for problem in problems:
            LOG.error('%s', problem)
        if problems and not dry_run:
            raise osc_exceptions.CommandError(refused)
        self._exit_code = 1 if problems else 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        self._take_signals()
        try:
            exit_code = super().run(parsed_args) or self._exit_code
            # A full disk, or a broken pipe, must count as a failure.
            self.app.stdout.flush()
        except interrupts.Interrupted as exc:
            LOG.error(self.STOPPED)
            exit_code = exc.exit_code
        finally:
            self._interrupts.restore()
        return interrupts.end(exit_code, self.app.interactive_mode)


class Sentences(columns.FormattableColumn[Any]):
    """Lines for people, a list for machines."""

    def human_readable(self) -> str:
        return '\n'.join(textwrap.fill(
            each, _WIDTH, subsequent_indent='  ', break_long_words=False,
            break_on_hyphens=False) for each in self._value)

    def machine_readable(self) -> list[str]:
        return list(self._value)


class Table(columns.FormattableColumn[Any]):
    """Rows: in columns for people, mappings for machines.

    :param value: mappings with the same keys
    :param keys: those that people get, who have a terminal of 100 columns,
        and for whom an ID fills a third of it; by default all
    """

    def __init__(self, value: Any, keys: Sequence[str] = ()) -> None:
        super().__init__(value)
        self._keys = keys

    def human_readable(self) -> str:
        if not self._value:
            return ''
        keys = self._keys or list(self._value[0])
        return '\n'.join(aligned([
            [key.replace('_', ' ') for key in keys],
            *([_text(row[key]) for key in keys] for row in self._value)]))

    def machine_readable(self) -> list[dict[str, Any]]:
        return list(self._value)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines in which the cells of a column have one width."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(
        row, widths, strict=True)).rstrip() for row in rows]


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return _('yes') if cell else _('no')
    if isinstance(cell, list):
        return ', '.join(map(str, cell))
    return '' if cell is None else str(cell)


def new_name(text: str) -> str:
    """Return what an option gives as the name of something new."""
    if not text.strip() or len(text) > spec.LONGEST_NAME or any(
            unicodedata.category(character) == 'Cc' for character in text):
        raise argparse.ArgumentTypeError(
            _('it must have 1 to %d characters, and no control characters')
            % spec.LONGEST_NAME)
    return text


def given(text: str) -> str:
    """Return what an option gives: a path, or the name of what to find.

    It must not be empty, or a variable that is empty would go unnoticed in a
    script, and with it that a set goes to no other site.
    """
    if not 0 < len(text) <= _LONGEST:
        raise argparse.ArgumentTypeError(
            _('it must have 1 to %d characters') % _LONGEST)
    return text


def printable(path: str) -> str:
    """Return a path without bytes that a table could not be printed with."""
    return path.encode(errors='backslashreplace').decode()


def connect(name: str) -> cloud_api.Cloud:
    """Return another site.

    :param name: in clouds.yaml
    :raises osc_exceptions.CommandError: there is no such name
    """
    try:
        return cloud_api.Cloud(openstack.connect(cloud=name))
    except Exception as exc:  # of whatever the configuration lacks
        raise osc_exceptions.CommandError(
            _('Cloud %(name)s cannot be used: %(why)s') % {
                'name': name, 'why': exc}) from exc


def delete_each(names: Iterable[str], delete: Callable[[str], None],
                failed: str) -> None:
    """Delete what has these names, and go on when one fails.

    :param failed: with ``%(failed)d`` of ``%(all)d``, as a sentence
    :raises osc_exceptions.CommandError: at the end, if one has failed
    """
    everything = list(names)
    failures = 0
    for name in everything:
        try:
            delete(name)
        except application_errors.ApplicationError as exc:
            LOG.error('%s', exc)
            failures += 1
    if failures:
        raise osc_exceptions.CommandError(
            failed % {'failed': failures, 'all': len(everything)})
