# SPDX-License-Identifier: Apache-2.0

"""The way to the database and to the message bus of one cell.

All cells have one MariaDB and one RabbitMQ. Who suspends or kills this process
suspends or kills those of one cell, as all that can be seen of them is.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import threading

from minicloud import config
from minicloud import ports
from minicloud import roles

CHUNK = 1 << 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


async def _copy(reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter) -> None:
    """Copy until one of the two is closed, and close the other."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


def _relay(connect: Connect) -> Callable[
        [asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return what serves a client by what is connected to for it."""
    async def serve(reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await connect()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, far_writer),
                             _copy(far_reader, writer))

    return serve


async def _listen(context: roles.Context) -> None:
    layout = context.layout
    port = ports.load(layout.ports)['broker']
    await asyncio.start_server(
        _relay(lambda: asyncio.open_connection(ports.ADDRESS, port)),
        config.gate_address(context.cell), port)
    if context.database == 'mariadb':
        path = layout.gate_socket(context.cell)
        path.unlink(missing_ok=True)
        await asyncio.start_unix_server(
            _relay(lambda: asyncio.open_unix_connection(
                layout.database_socket)), path)


def run(context: roles.Context) -> threading.Thread:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_listen(context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    return thread
