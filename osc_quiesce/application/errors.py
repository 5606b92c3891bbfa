# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What can go wrong with an application, in words."""

from __future__ import annotations

from collections.abc import Sequence


class ApplicationError(Exception):
    """Something cannot be done; the message says what to do about it."""


class SpecError(ApplicationError):
    """application.yaml is not as it has to be."""


class NotPossible(ApplicationError):
    """A snapshot set cannot be made; nothing was frozen.

    :param reasons: all of them, a sentence each
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(' '.join(reasons))
        self.reasons = tuple(reasons)
