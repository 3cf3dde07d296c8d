"""The errors trueup raises, split by who must act.

What lives here: exception classes that carry facts as attributes. What must not: any decision taken on the text of a
message. "Not enough data" is not an error; it is a result (`monitor.statistics.result.Absent`).
"""

from __future__ import annotations


class TrueupError(Exception):
    """Base of all errors: says what is wrong, where, what was expected, what was got, and what to do.

    Attributes are kept apart so that callers never parse the message.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.hint = hint
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        facts = [f"expected {self.expected}" if self.expected else "", f"got {self.got}" if self.got else ""]
        detail = ", ".join(fact for fact in facts if fact)
        if detail:
            text = f"{text} ({detail})"
        if self.hint:
            text = f"{text}. {self.hint}"
        return text


class OperatorError(TrueupError):
    """The operator must act: configuration, environment, missing program, port in use."""


class RecordError(TrueupError):
    """The producer of the data must act: one record, file or request cannot be understood."""


class DefectError(TrueupError):
    """We must act: an invariant of trueup itself does not hold."""
