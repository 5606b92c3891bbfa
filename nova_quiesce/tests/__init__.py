# SPDX-License-Identifier: Apache-2.0

from nova_quiesce import compat

# As the programs do, before any test imports Nova.
compat.choose_threads()

from nova import objects  # noqa: E402

# What is imported later names Nova's objects.
objects.register_all()
