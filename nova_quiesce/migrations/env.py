# SPDX-License-Identifier: Apache-2.0

"""What alembic runs the migrations with; called by nova_quiesce.schema."""

from alembic import context

from nova_quiesce import schema

context.configure(
    connection=context.config.attributes['connection'],
    target_metadata=schema.metadata, version_table=schema.VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
