# SPDX-License-Identifier: Apache-2.0

"""Every process is killed at every step; no guest stays frozen."""
