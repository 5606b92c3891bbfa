# SPDX-License-Identifier: Apache-2.0

"""Compute drivers for machines without a hypervisor."""
