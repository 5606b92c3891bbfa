# SPDX-License-Identifier: Apache-2.0

"""Check that each text that a user can meet can be translated.

Usage: python tools/check_messages.py DIRECTORY ...

It reads the code and does not run it. A text is one if it is raised, printed,
or given to an option as its help; in the client half, also if it is logged;
and in any case if it looks like a sentence. The logs of the server half are
for administrators and stay in English, as do the descriptions of options and
policy rules, of which samples are made: so it is everywhere in OpenStack.
"""

import ast
import pathlib
import re
import sys
from collections.abc import Iterator

#: their texts are for whoever writes a program
PROGRAMMING_ERRORS = ('AttributeError', 'RuntimeError', 'TypeError',
                      'ValueError')
#: names of arguments, and of attributes, that are shown
ARGUMENTS = ('explanation', 'help', 'reason', 'title', 'why')
ATTRIBUTES = ('_description', 'advice', 'msg_fmt')
LOGGED = ('critical', 'error', 'exception', 'warning')
#: option help, policy descriptions, and the help of metrics
ENGLISH_ONLY = ('conf.py', 'openmetrics.py', 'policies.py', 'states.py')
#: look like sentences, and are commands, names, or what others have said
NO_SENTENCES = {
    'cmd.py': ('osc-quiesce %s, nova %s',),
    'db.py': ('SET SESSION wait_timeout = %d, innodb_lock_wait_timeout = %d',
              'SET SESSION wait_timeout = %d'),
    'guest.py': (
        '[Error Code %d]',
        "unable to execute QEMU agent command(?: '[^']*')?(?:: )?(.*)",
        'Domain not found',
        '[Cc]ommand (\\S+ )?has not been found|CommandNotFound'
        '|this feature or command is not currently supported'
        '|VSS failed to initialize',
        '[Cc]ommand (\\S+ )?has been disabled',
        'QEMU guest agent is not (connected|available due to an error)',
        "Guest agent not available for now|guest agent didn't respond to",
        'fsfreeze hook has failed|failed to (open|freeze) '
        '|Resource deadlock avoided|Frozen event|snapshot set',
        'fsfreeze is limited up to|unexpected error in VSS provider'
        '|Frozen event|failed to do snapshot set',
        'Guest agent disappeared while executing command',
        'QEMU guest agent is not configured',
        'domain is not running',
        'the agent is in frozen state',
        'cannot acquire state change lock'),
    'failures.py': (
        'incomplete backup reset on manager restart',
        'create backup aborted, expected snapshot status backing-up',
        'volume \\S+ could not be found',
        'Traceback (most recent call last)',
        'full backup',
        'list index out of range',
        '[errno 17] file exists',
        'service not found for creating backup',
        '"openstack volume set --state ',
        '"openstack volume snapshot set --state available '),
    'novaclient_extension.py': ('nova unquiesce',),
    'inspector.py': ('VMware vCenter Server',),
    'server.py': ('openstack server unquiesce',),
    'status.py': (
        '%s on %s: %d s',
        '# TYPE nova_quiesce_%s gauge'),
    'schema.py': (
        '(EXTRACT(EPOCH FROM clock_timestamp())::double precision)',),
    'http.py': ('no such action',),
}


def is_words(node: ast.expr | None) -> bool:
    """Say whether this is a text with words of its own."""
    if isinstance(node, ast.BinOp):    # '...' % ..., or '...' + '...'
        return is_words(node.left) or (
            isinstance(node.op, ast.Add) and is_words(node.right))
    if isinstance(node, ast.IfExp):
        return is_words(node.body) or is_words(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return any(is_words(part) for part in node.values)
    return isinstance(node, ast.Constant) and isinstance(
        node.value, str) and bool(re.search(
            '[A-Za-z]{2}', re.sub(r'%(\(\w+\))?[a-z]', '', node.value)))


def name_of(node: ast.expr) -> str:
    """Return the last part of a name, or an empty text."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ''


def shown(node: ast.AST, client: bool) -> Iterator[ast.expr | None]:
    """Yield what a user gets to see of one piece of code."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        if name_of(node.exc.func) not in PROGRAMMING_ERRORS:
            yield from node.exc.args[:1]
    elif isinstance(node, ast.Call):
        if name_of(node.func) == 'print':
            yield from node.args
        elif (client and isinstance(node.func, ast.Attribute)
              and name_of(node.func.value) == 'LOG'
              and node.func.attr in LOGGED):
            yield from node.args
        yield from (keyword.value for keyword in node.keywords
                    if keyword.arg in ARGUMENTS)
    elif isinstance(node, ast.Assign):
        if any(name_of(target) in ATTRIBUTES for target in node.targets):
            yield node.value


def is_for_nobody(node: ast.AST) -> bool:
    """Say whether texts in there are looked at elsewhere, or not at all."""
    if isinstance(node, ast.Expr):    # a docstring
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Call) and (
        name_of(node.func) in ('_', *PROGRAMMING_ERRORS)
        or isinstance(node.func, ast.Attribute)
        and name_of(node.func.value) == 'LOG')


def sentences(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield what looks like a sentence, wherever it goes."""
    if is_for_nobody(node):
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and re.search(
                '[A-Za-z]{2},? [a-z%]', node.value):
            yield node
    for child in ast.iter_child_nodes(node):
        yield from sentences(child)


def problems(tree: ast.AST, client: bool,
             name: str) -> Iterator[tuple[int, str]]:
    """Yield line and problem of each text that cannot be translated."""
    for text in sentences(tree):
        if text.value not in NO_SENTENCES.get(name, ()):
            yield text.lineno, 'this sentence is not given to _()'
    for node in ast.walk(tree):
        for value in shown(node, client):
            if is_words(value):
                assert value is not None
                yield value.lineno, 'this text is not given to _()'
        if isinstance(node, ast.Call) and name_of(node.func) == '_' and not (
                len(node.args) == 1 and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)):
            yield node.lineno, 'no tool finds the text of this _()'


def main(directories: list[str]) -> int:
    """Print all problems, and return the exit code."""
    found = texts = 0
    seen: dict[str, set[object]] = {}
    for directory in directories:
        for path in sorted(pathlib.Path(directory).rglob('*.py')):
            if 'tests' in path.parts or path.name in ENGLISH_ONLY:
                continue
            tree = ast.parse(path.read_text(encoding='utf-8'))
            seen.setdefault(path.name, set()).update(
                text.value for text in sentences(tree))
            texts += sum(isinstance(node, ast.Call)
                         and name_of(node.func) == '_'
                         for node in ast.walk(tree))
            for line, problem in problems(tree, directory == 'osc_quiesce',
                                          path.name):
                print('%s:%d: %s' % (path, line, problem), file=sys.stderr)
                found += 1
    for name in seen.keys() & NO_SENTENCES.keys():
        for text in set(NO_SENTENCES[name]) - seen[name]:
            print('%s: no text like that of NO_SENTENCES: %r' % (name, text),
                  file=sys.stderr)
            found += 1
    print('%d texts can be translated, %d cannot' % (texts, found))
    return 1 if found or not texts else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
