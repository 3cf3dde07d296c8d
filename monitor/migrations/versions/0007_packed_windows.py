"""Windows are compressed from now on; those there are stay as they are, and an older trueup could not read the new."""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing to change: SQLite takes a blob in a column of texts, other databases compress by themselves."""


def downgrade() -> None:
    """Refused: older versions of trueup are restored from the backup that the upgrade made."""
    raise RuntimeError("restore the backup instead")
