# SPDX-License-Identifier: Apache-2.0

"""Just enough of the Network API for a Nova that never has a port.

Nova asks the network service about ports and security groups whenever it
shows a server. This answers that there are none, and refuses to make any.
"""

from collections.abc import Callable
from collections.abc import Iterable
import json
import re
from typing import Any

NO_LIMIT = {'port': -1, 'network': -1, 'security_group': -1,
            'security_group_rule': -1, 'floatingip': -1}


def _error(kind: str, message: str) -> dict[str, Any]:
    return {'NeutronError': {'type': kind, 'message': message, 'detail': ''}}


def answer(method: str, path: str, base: str) -> tuple[str, dict[str, Any]]:
    """Return status line and body for one request."""
    path = path.rstrip('/')
    if path == '':
        return '200 OK', {'versions': [{
            'id': 'v2.0', 'status': 'CURRENT',
            'links': [{'rel': 'self', 'href': f'{base}/v2.0/'}]}]}
    if path == '/v2.0':
        return '200 OK', {'resources': []}
    if method != 'GET':
        return '501 Not Implemented', _error(
            'NotImplemented', 'This cloud has no network service; '
            'create servers with --nic none.')
    if re.match(r'^/v2\.0/quotas/[^/]+', path):
        return '200 OK', {'quota': NO_LIMIT}
    if collection := re.match(r'^/v2\.0/([a-z_-]+)$', path):
        return '200 OK', {collection.group(1).replace('-', '_'): []}
    return '404 Not Found', _error('NotFound', 'Not found.')


def application(environ: dict[str, Any],
                start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application."""
    base = f'http://{environ.get("HTTP_HOST", "127.0.0.1")}'
    status, data = answer(
        environ['REQUEST_METHOD'], environ['PATH_INFO'], base)
    body = json.dumps(data).encode()
    start_response(status, [('Content-Type', 'application/json'),
                            ('Content-Length', str(len(body)))])
    return [body]
