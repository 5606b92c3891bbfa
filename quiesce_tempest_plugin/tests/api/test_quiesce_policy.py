# SPDX-License-Identifier: Apache-2.0

"""Who may quiesce and unquiesce, by default."""

from typing import Any

from tempest.lib import decorators
from tempest.lib import exceptions

from quiesce_tempest_plugin.tests import base

#: the answer to everybody who is not the administrator of a project
ANSWERS = {
    'project_manager': 403,
    'project_member': 403,
    'project_reader': 403,
    'project_alt_member': 404,
    'project_alt_reader': 404,
    # Their tokens are for no project.
    'system_admin': 403,
    'system_reader': 403,
    'domain_admin': 403,
}


class QuiescePolicyTest(base.QuiesceTest):
    """Nova's default, as for its other administrative actions."""

    credentials = ['primary', 'admin', 'project_admin', *ANSWERS]

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.server = cls.create_server()

    def _answers(self, action: str) -> dict[str, int]:
        return {persona: self._answer(persona, action) for persona in ANSWERS}

    def _answer(self, persona: str, action: str) -> int:
        client = getattr(self, 'os_%s' % persona).quiesce.QuiesceClient()
        try:
            answer: Any = client.action(self.server, {action: None}).response
        except exceptions.RestClientException as error:
            answer = error.resp
        return int(answer['status'])

    @decorators.attr(type='negative')
    @decorators.idempotent_id('8a14de75-8f26-40a3-bb45-1f689798d50a')
    def test_others_may_not(self) -> None:
        """Nobody but an administrator may, and it changes nothing."""
        self.assertEqual(ANSWERS, self._answers('quiesce'))
        self.assertEqual('ACTIVE', self.settle(self.server))
        self.quiesce_for_this_test(self.server)
        self.assertEqual(ANSWERS, self._answers('unquiesce'))
        self.assertEqual('QUIESCED', self.settle(self.server))

    @decorators.idempotent_id('62202e51-620c-45a5-bcba-e53de1155b5d')
    def test_administrators_may(self) -> None:
        """Administrators may, of the server's project and of another."""
        for first, second in (('admin', 'project_admin'),
                              ('project_admin', 'admin')):
            self.assertEqual(202, self._answer(first, 'quiesce'))
            self.wait_for_status(self.server, 'QUIESCED')
            self.assertEqual(202, self._answer(second, 'unquiesce'))
            self.wait_for_status(self.server, 'ACTIVE')
