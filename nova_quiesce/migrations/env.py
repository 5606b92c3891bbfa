# SPDX-License-Identifier: Apache-2.0

"""What alembic runs the migrations with; called by nova_quiesce.store."""

from alembic import context

from nova_quiesce import store

context.configure(
    connection=context.config.attributes['connection'],
    target_metadata=store.metadata, version_table=store.VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
