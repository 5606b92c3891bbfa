# SPDX-License-Identifier: Apache-2.0

"""Add the table of freezes, and what it needs."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None


def upgrade() -> None:
    """Create the tables; a database can be synced while Nova runs.

    The character set is that of Nova's tables: names of servers are in it.
    """
    op.create_table(
        'quiesce_freezes',
        sa.Column('instance_uuid', sa.String(36), primary_key=True),
        sa.Column('cell_uuid', sa.String(36), nullable=False),
        sa.Column('project_id', sa.String(255)),
        sa.Column('user_id', sa.String(255)),
        sa.Column('server_name', sa.String(255)),
        sa.Column('host', sa.String(255)),
        sa.Column('request_id', sa.String(255), nullable=False),
        sa.Column('unquiesce_request_id', sa.String(255)),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('owner', sa.String(255)),
        sa.Column('due_at', sa.Double),
        sa.Column('unquiesce_after', sa.Integer, nullable=False),
        sa.Column('requested_at', sa.Double, nullable=False),
        sa.Column('frozen_at', sa.Double),
        sa.Column('thaws', sa.Integer, nullable=False),
        sa.Column('attempts', sa.Integer, nullable=False),
        sa.Column('error', sa.Text),
        mysql_charset='utf8')
    op.create_index('ix_quiesce_freezes_project_id', 'quiesce_freezes',
                    ['project_id'])
    op.create_index('ix_quiesce_freezes_due_at', 'quiesce_freezes',
                    ['due_at'])
    op.create_table(
        'quiesce_requests',
        sa.Column('instance_uuid', sa.String(36), primary_key=True),
        sa.Column('request_id', sa.String(255), primary_key=True),
        sa.Column('project_id', sa.String(255)),
        sa.Column('fate', sa.String(16), nullable=False),
        sa.Column('created_at', sa.Double, nullable=False),
        mysql_charset='utf8')
    op.create_index('ix_quiesce_requests_request_id', 'quiesce_requests',
                    ['request_id'])
    op.create_index('ix_quiesce_requests_created_at', 'quiesce_requests',
                    ['created_at'])
    op.create_table(
        'quiesce_sweeps',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('cell_uuid', sa.String(36), primary_key=True),
        sa.Column('swept_at', sa.Double, nullable=False),
        sa.Column('details', sa.Text),
        mysql_charset='utf8')
