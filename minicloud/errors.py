# SPDX-License-Identifier: Apache-2.0

"""The one exception that minicloud shows to people, always in words."""


class MinicloudError(Exception):
    """Something that the user has to know; its text is the message."""
