# SPDX-License-Identifier: Apache-2.0

"""The server half: quiesce and unquiesce for an unmodified Nova.

``controllers`` and ``api`` answer requests inside nova-api; ``manager``,
``work`` and ``thawing`` carry them out inside the nova-quiesce service.  What
may be frozen is in the table of ``store``, and ``states`` has the rules.
Nothing in this package is imported by the client half.
"""
