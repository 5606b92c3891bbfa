# SPDX-License-Identifier: Apache-2.0

"""The server half on a real database, with everything else under control."""
