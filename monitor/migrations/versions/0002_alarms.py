"""Evidence and alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create their tables; names of cursors hold a version now, which may be long."""
    op.create_table(
        "evidence",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("check_name", sa.String(100), primary_key=True),
        sa.Column("phase", sa.Integer, primary_key=True),
        sa.Column("evidence", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "alarms",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("check_name", sa.String(100), primary_key=True),
        sa.Column("alarm", sa.LargeBinary, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
    if op.get_bind().dialect.name != "sqlite":  # which holds names of any length
        op.alter_column("cursors", "name", type_=sa.String(200), existing_type=sa.String(50), existing_nullable=False)


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
