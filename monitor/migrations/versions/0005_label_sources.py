"""How far databases with ground truth were read."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "label_sources",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("source", sa.String(50), primary_key=True),
        sa.Column("position", sa.Text),
        sa.Column("newest", sa.BigInteger),
        sa.Column("last_attempt", sa.BigInteger, nullable=False),
        sa.Column("last_success", sa.BigInteger),
        sa.Column("error", sa.Text),
    )


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
