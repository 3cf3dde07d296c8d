"""Limits that are learnt from the first windows of a version."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "learnt_limits",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("seconds", sa.Float, primary_key=True),
        sa.Column("metric", sa.String(100), primary_key=True),
        sa.Column("reference", sa.String(64), nullable=False),
        sa.Column("window_values", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
