# SPDX-License-Identifier: Apache-2.0

"""A site that is asked whether the servers run there may well be dead."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
from typing import Any
import unittest

import openstack

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.recovery import restore_plan
from osc_quiesce.recovery import split_brain
from osc_quiesce.tests.unit.recovery import restore_base


class TestSplitBrain(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # Others may have told ours to go nowhere.
        log = logging.getLogger('osc_quiesce')
        self.addCleanup(setattr, log, 'propagate', log.propagate)
        log.propagate = True
        root = logging.getLogger()
        self.addCleanup(root.setLevel, root.level)
        root.setLevel(logging.DEBUG)  # as openstackclient does

    def said(self, source: Any, level: int = logging.WARNING) -> list[str]:
        """Return what a handler of this level gets."""
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setLevel(level)
        here: Any = restore_base.FakeSite()
        with contextlib.ExitStack() as stack:
            logging.getLogger().addHandler(handler)
            stack.callback(logging.getLogger().removeHandler, handler)
            self.assertEqual([], split_brain.problems(
                here, [restore_base.manifest('db', 0, 'vda')],
                restore_plan.Options(source=source, source_name='siteA')))
        return stream.getvalue().splitlines()

    def test_a_site_that_does_not_answer_is_asked_once(self) -> None:
        class Silent:
            asked = 0

            def compute(self, *_args: Any) -> Any:
                self.asked += 1
                raise cloud_api.CloudError('no answer')

        source: Any = Silent()
        here: Any = restore_base.FakeSite()
        self.assertEqual([], split_brain.problems(
            here, [restore_base.manifest(f's{n}', 0, 'vda')
                   for n in range(20)],
            restore_plan.Options(source=source, source_name='siteA')))
        self.assertEqual(1, source.asked)

    def test_a_dead_site_is_one_sentence_without_debug(self) -> None:
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))  # and nobody listens
            url = 'http://127.0.0.1:%d/v3' % taken.getsockname()[1]
            dead = openstack.connect(
                load_yaml_config=False, load_envvars=False, auth={
                    'auth_url': url, 'username': 'a', 'password': 'b',
                    'project_name': 'p', 'user_domain_id': 'default',
                    'project_domain_id': 'default'})
            self.addCleanup(dead.close)
            source = cloud_api.Cloud(dead)
            self.assertEqual(
                ['Cloud siteA cannot be asked whether the servers run there '
                 '(no usable answer): make sure that they cannot.'],
                self.said(source))
            everything = ' '.join(self.said(source, logging.DEBUG))
            self.assertIn(f'Unable to establish connection to {url}',
                          everything)

    def test_a_site_that_answers_an_error_says_which(self) -> None:
        source: Any = restore_base.FakeSite()

        def refuse(*_args: Any) -> None:
            raise cloud_api.CloudError('Who are you?', 401)

        source.compute = refuse
        [said] = self.said(source)
        self.assertIn('(HTTP 401)', said)
        self.assertIn('Who are you?', ' '.join(
            self.said(source, logging.DEBUG)))

    def test_a_site_without_any_of_the_servers_is_warned_of(self) -> None:
        """Nova answers the same 404 in another project than theirs."""
        source: Any = restore_base.FakeSite()
        [said] = self.said(source)
        self.assertIn('Cloud siteA has none of the servers', said)

    def test_other_warnings_are_shown_again_afterwards(self) -> None:
        source: Any = restore_base.FakeSite()
        source.servers['db-id'] = {'status': 'SHUTOFF'}
        self.assertEqual([], self.said(source))
        with self.assertLogs('keystoneauth.discover', 'WARNING'):
            logging.getLogger('keystoneauth.discover').warning('x')
