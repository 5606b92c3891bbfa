# SPDX-License-Identifier: Apache-2.0

"""``python -m minicloud``: see :mod:`minicloud.cli`."""

import sys

from minicloud import cli

if __name__ == '__main__':
    sys.exit(cli.main())
