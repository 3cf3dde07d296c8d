"""Panes whose rows changed without anything new in the log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "dirty_panes",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
    )


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
