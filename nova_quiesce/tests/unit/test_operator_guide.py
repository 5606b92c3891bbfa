# SPDX-License-Identifier: Apache-2.0

"""The operator guide names every error, and only log lines that there are."""

import ast
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
from typing import Any

import yaml

from nova_quiesce import exceptions
from nova_quiesce import guest

CODE = pathlib.Path(exceptions.__file__).parent
GUIDE = CODE.parent / 'doc/source/admin/operator.rst'
AUDIT = GUIDE.with_name('audit.rst')
RULES = CODE.parent / 'doc/source/samples/nova-quiesce.rules.yml'


#: a line that only repeats an error of a request
VARIES = '%s'
LEVELS = {'error': 'ERROR', 'exception': 'ERROR', 'warning': 'WARNING',
          'info': 'INFO'}


def logged() -> dict[str, set[str]]:
    """Return what the code writes to its log, by level."""
    texts: dict[str, set[str]] = {level: set() for level in LEVELS.values()}
    for path in CODE.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if (isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == 'LOG'):
                [text, *_rest] = node.args
                assert isinstance(text, ast.Constant)
                assert isinstance(text.value, str)
                level = LEVELS[node.func.attr]
                # Both actions come through the same lines.
                for action in ('quiesce', 'unquiesce'):
                    texts[level].add(re.sub(
                        r'^%(\(action\))?s(?= done|:)', action, text.value))
    return texts


def alerts() -> list[dict[str, Any]]:
    """Return the rules of the sample for Prometheus."""
    [group] = yaml.safe_load(RULES.read_text())['groups']
    rules: list[dict[str, Any]] = group['rules']
    return rules


def in_one_line(text: str) -> str:
    return ' '.join(text.split())


class TestOperatorGuide(unittest.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.guide = in_one_line(GUIDE.read_text())

    def test_every_error_of_a_request(self) -> None:
        for error in exceptions.GuestError.__subclasses__():
            # What varies is at one end, or behind the first of such.
            fixed = re.split(r' \(?now|%\(\w+\)[sd]', error.msg_fmt)
            for text in fixed[:1] if fixed[0] else fixed[1:]:
                with self.subTest(error=error.__name__):
                    self.assertIn('``%s' % text.strip(), self.guide)

    def test_every_answer_of_nova_compute(self) -> None:
        for answer in guest.FREEZE_ANSWERS:
            if answer.reason:
                self.assertIn('``%s``' % answer.reason, self.guide)

    def test_every_alert_is_explained(self) -> None:
        rules = alerts()
        self.assertEqual(
            [rule['alert'] for rule in rules],
            re.findall(r'\* - ``(NovaQuiesce\w+)``', self.guide))
        for rule in rules:
            with self.subTest(rule['alert']):
                self.assertLessEqual({'alert', 'expr', 'labels',
                                      'annotations'}, set(rule))
                self.assertEqual(rule['expr'].count('('),
                                 rule['expr'].count(')'))

    def test_the_probe_of_one_service(self) -> None:
        [probe] = re.findall(
            r'code-block:: sh\n\n((?:   .*\n)+)',
            GUIDE.read_text().partition('.. _health:')[2].partition(
                '.. _log-lines:')[0])
        report = 'nova_quiesce_last_report_seconds{host="%s"} %s'
        for figures, is_up in (
                ([('ctl1', 3.25), ('ctl2', 600)], True),
                ([('ctl1', 61), ('ctl2', 3)], False),
                ([('ctl2', 3), ('ctl11', 3)], False), ([], False)):
            with self.subTest(figures), tempfile.TemporaryDirectory() as home:
                for name, text in (
                        ('hostname', 'ctl1'),
                        ('nova-quiesce-status', '\n'.join(
                            report % figure for figure in figures))):
                    program = pathlib.Path(home) / name
                    program.write_text(
                        "#!/bin/sh\ncat <<'END'\n%s\nEND\n" % text)
                    program.chmod(0o755)
                done = subprocess.run(
                    ['sh', '-c', probe], check=False,
                    env={'PATH': home + os.pathsep + os.environ['PATH']})
                self.assertEqual(is_up, done.returncode == 0)

    def test_the_audit_of_a_compute_host(self) -> None:
        [audit] = re.findall(
            r'code-block:: sh\n\n((?:   .*\n)+)', AUDIT.read_text())
        answers = {
            'known': '{"return":"frozen"}', 'frozen': '{"return":"frozen"}',
            'thawed': '{"return":"thawed"}',
            'hung': 'error: Guest agent is not responding',
            'without': 'error: QEMU guest agent is not configured'}
        with tempfile.TemporaryDirectory() as home:
            (pathlib.Path(home) / 'known.json').write_text(
                '[{"uuid": "known"}]')
            virsh = pathlib.Path(home) / 'virsh'
            virsh.write_text(
                '#!/bin/sh\n[ "$1" = list ] && exec echo %s\ncase "$2" in\n'
                '%sesac\n' % (' '.join(answers), ''.join(
                    "%s) echo '%s' %s;;\n" % (
                        guest, text, '>&2; exit 1' if 'error' in text else '')
                    for guest, text in answers.items())))
            virsh.chmod(0o755)
            done = subprocess.run(
                ['sh', '-c', audit], check=False, cwd=home,
                capture_output=True, text=True,
                env={'PATH': home + os.pathsep + os.environ['PATH']})
        self.assertEqual(
            ['%s is not known: %s' % (guest, answers[guest])
             for guest in ('frozen', 'hung')], done.stdout.splitlines())

    def test_every_log_line(self) -> None:
        texts = logged()
        table = self.guide.partition('* - level')[2].partition('.. _errors')[0]
        rows = re.findall(
            r'\* - (ERROR|WARNING|INFO) - ((?:``[^`]+``(?:, | and )?)+)',
            table)
        self.assertGreater(len(rows), 8)
        self.assertEqual(table.count('* - '), len(rows))
        explained = [(level, line) for level, lines in rows
                     for line in re.findall('``([^`]+)``', lines)]
        for level, line in explained:
            with self.subTest(line):
                self.assertTrue([text for text in texts[level]
                                 if line in text])
        for level in ('ERROR', 'WARNING'):
            for text in texts[level] - {VARIES}:
                with self.subTest(text):
                    self.assertTrue([line for its_level, line in explained
                                     if its_level == level and line in text])
