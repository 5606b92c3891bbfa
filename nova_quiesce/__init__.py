# SPDX-License-Identifier: Apache-2.0

"""The server half: quiesce and unquiesce for an unmodified Nova.

``api`` answers the two actions inside nova-api, ``manager`` carries them out
inside the nova-quiesce service, and ``sweep`` sees there to it that no guest
stays frozen, whatever fails.  ``states`` and ``recovery`` are the rules by
which they do that.  Nothing in this package is imported by the client half.
"""
