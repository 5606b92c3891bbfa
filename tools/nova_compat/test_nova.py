# SPDX-License-Identifier: Apache-2.0

"""Nova's own functional tests, from the package nova, made ready to be run.

Nova's wheel has the tests, but not all that these expect beside them.
Environment:

``COMPAT_PASTE``
    the api-paste.ini of the Nova that is tested
``COMPAT_MODULES``
    names of the modules whose tests are run, separated by spaces
"""

# First, as it decides how Nova's threads are made.
import nova.tests.functional  # noqa: F401

import os
import warnings
from typing import Any

from nova.tests import fixtures
from nova.tests.fixtures import conf as conf_fixture
from nova.tests.functional import api_samples_test_base
from nova.tests.functional import integrated_helpers
from nova.tests.functional.api import client
from sqlalchemy import exc


class QuiesceTest(integrated_helpers._IntegratedTestBase):
    """The quiesce actions are there: without this the rest proves nothing."""

    ADMIN_API = True
    microversion = '2.37'    # the first with networks='none'

    def test_actions_are_there(self) -> None:
        server = self._create_server(networks='none')
        for action, code in (('quiesce', 503), ('unquiesce', 409)):
            error = self.assertRaises(
                client.OpenStackApiException, self.api.post_server_action,
                server['id'], {action: None})
            # Nobody would carry it out, or it is not quiesced; an action
            # that Nova does not know is 400.
            self.assertEqual(code, error.response.status_code)


def _use_paste(original: Any) -> Any:
    def set_up(fixture: Any) -> None:
        original(fixture)
        fixture.conf.set_default('api_paste_config',
                                 os.environ['COMPAT_PASTE'], group='wsgi')
    return set_up


def _without_samples(original: Any) -> Any:
    def compare_result(test: Any, expected: Any, result: Any,
                       what: str) -> Any:
        if what != 'Sample':
            return original(test, expected, result, what)
    return compare_result


def _allow_deprecated(original: Any) -> Any:
    def set_up(fixture: Any) -> None:
        original(fixture)
        # For Nova's developers this is an error; it depends on the version
        # of SQLAlchemy, and ends in the middle of a transaction.
        warnings.filterwarnings('ignore', category=exc.SADeprecationWarning)
    return set_up


def load_tests(loader: Any, tests: Any, _pattern: str) -> Any:
    """Add Nova's tests to ours; called by unittest."""
    conf_fixture.ConfFixture.setUp = _use_paste(
        conf_fixture.ConfFixture.setUp)
    fixtures.WarningsFixture.setUp = _allow_deprecated(
        fixtures.WarningsFixture.setUp)
    base = api_samples_test_base.ApiSampleTestBase
    # Samples for the documentation are compared with the templates of what
    # Nova answers; the wheel has no samples.
    base._get_sample = vars(base)['_get_template']
    base._compare_result = _without_samples(base._compare_result)
    tests.addTests(loader.loadTestsFromNames(
        os.environ['COMPAT_MODULES'].split()))
    return tests
