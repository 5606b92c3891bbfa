# SPDX-License-Identifier: Apache-2.0

"""The real thing: real guests on a real hypervisor, through ``openstack``.

What is frozen is seen from outside, on the guest's console and in its disks.
"""
