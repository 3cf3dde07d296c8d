"""The state's first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "lease",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "cursors",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("source", sa.String(200), primary_key=True),
        sa.Column("newest_event_time", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "panes",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.String(64), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("profile", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "windows",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("seconds", sa.Float, primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("maturity", sa.String(20), nullable=False),
        sa.Column("evaluated_at", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
    )
    op.create_index("windows_by_end", "windows", ["model", "end"])
    op.create_table(
        "pending_labels",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("prediction_id", sa.String(250), primary_key=True),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
    )
    op.create_index("pending_labels_by_age", "pending_labels", ["model", "first_seen"])
    op.create_table(
        "superseded",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("prediction_id", sa.String(250), primary_key=True),
        sa.Column("event_time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(100), primary_key=True),
        sa.Column("reference", sa.String(64)),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "evaluations",
        sa.Column("model", sa.String(100), primary_key=True),
        sa.Column("last_attempt", sa.BigInteger, nullable=False),
        sa.Column("last_success", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
