# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The server half: quiesce and unquiesce for an unmodified Nova.

``api`` answers the two actions inside nova-api, ``manager`` carries them out
inside the nova-quiesce service, and ``sweep`` sees there to it that no guest
stays frozen, whatever fails.  ``states`` and ``recovery`` are the rules by
which they do that.  Nothing in this package is imported by the client half.
"""
