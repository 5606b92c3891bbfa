# SPDX-License-Identifier: Apache-2.0

"""What tempest loads: tests, options, and the client."""

import os
from typing import Any

from tempest import config
from tempest.test_discover import plugins

from quiesce_tempest_plugin import config as quiesce_config


class QuiesceTempestPlugin(plugins.TempestPlugin):
    """The tests of quiescing servers, for tempest."""

    def load_tests(self) -> tuple[str, str]:
        package = os.path.dirname(os.path.abspath(__file__))
        return os.path.join(package, 'tests'), os.path.dirname(package)

    def register_opts(self, conf: Any) -> None:
        conf.register_group(quiesce_config.quiesce_group)
        conf.register_group(quiesce_config.quiesce_feature_group)
        for group, options in quiesce_config.list_opts():
            conf.register_opts(options, group)

    def get_opt_lists(self) -> list[tuple[str, list[Any]]]:
        return quiesce_config.list_opts()

    def get_service_clients(self) -> list[dict[str, Any]]:
        return [{
            **config.service_client_config('compute'),
            'name': 'quiesce',
            'service_version': 'quiesce',
            'module_path': 'quiesce_tempest_plugin.services.quiesce_client',
            'client_names': ['QuiesceClient'],
        }]
