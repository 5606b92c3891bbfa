# SPDX-License-Identifier: Apache-2.0

"""The same on real volumes: what is worth a snapshot?"""
