# SPDX-License-Identifier: Apache-2.0

"""The real Nova keeps to the contract that the fake one is held to."""

from osc_quiesce import api
from osc_quiesce.tests import contract
from osc_quiesce.tests.functional import base


class TestRealNova(contract.Contract, base.FunctionalTest):

    def setUp(self) -> None:
        super().setUp()
        self.api = api.QuiesceAPI(base.compute())

    def new_server(self, seconds: int = 0) -> str:
        if seconds:
            return self.boot(quiesce='slow:%d' % seconds)
        return self.boot()

    def wait_until(self, server_id: str, vm_state: str) -> None:
        self.wait_for(lambda: self.states(server_id) == (vm_state, None),
                      'server %s is %s' % (server_id, vm_state))
