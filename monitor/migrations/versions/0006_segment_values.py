"""Which values of a segment are told apart where no reference says it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "segment_values",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("segment", sa.String(200), primary_key=True),
        sa.Column("frozen", sa.Boolean, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
