"""Tokens are read from a file that only its owner may read, and kept as digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from monitor.config import DocumentError, load_config
from monitor.config.tokens import read_tokens
from monitor.errors import OperatorError
from monitor.http.auth import scopes_of

TOKEN = "correct-horse-battery"


def tokens_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_tokens_and_digests_are_good_for_their_scope_only(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"an-other-token-of-ours").hexdigest()
    digests = read_tokens(tokens_file(tmp_path, f"ingest: [{TOKEN}]\nread: ['sha256:{digest.upper()}']"))
    assert scopes_of(TOKEN, digests) == {"ingest"}
    assert scopes_of("an-other-token-of-ours", digests) == {"read"}
    assert scopes_of("wrong", digests) == frozenset()
    assert TOKEN not in repr(digests)


def test_an_admin_may_do_everything(tmp_path: Path) -> None:
    digests = read_tokens(tokens_file(tmp_path, f"admin: [{TOKEN}]"))
    assert scopes_of(TOKEN, digests) == {"ingest", "read", "admin"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tokens_file(tmp_path, f"ingest: [{TOKEN}]", mode)
    with pytest.raises(OperatorError) as caught:
        read_tokens(path)
    assert str(caught.value) == (
        f"{path}: others may read the tokens file (expected mode 0600, got {mode:04o}). Run: chmod 600 {path}"
    )


def test_every_fault_is_told_and_no_token_is(tmp_path: Path) -> None:
    path = tokens_file(
        tmp_path, f"ingst: [{TOKEN}]\nread: {TOKEN}\nadmin:\n - short-one\n - 'sha256:12'\n - 7\n - ''\n"
    )
    with pytest.raises(DocumentError) as caught:
        read_tokens(path)
    assert [(fault.line, fault.message.split(" (")[0]) for fault in caught.value.faults] == [
        (1, "unknown scope"),
        (2, "expected a list of tokens or sha256: digests"),
        (4, "not a token"),
        (5, "not a token"),
        (6, "not a token"),
        (7, "not a token"),
    ]
    assert TOKEN not in str(caught.value)
    assert "short-one" not in str(caught.value)


def test_an_empty_file_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"expected scopes with lists of tokens"):
        read_tokens(tokens_file(tmp_path, ""))


def test_other_machines_may_connect_where_tokens_are_asked_for(tmp_path: Path) -> None:
    tokens_file(tmp_path, f"ingest: [{TOKEN}]")
    path = tmp_path / "trueup.yaml"
    path.write_text("models: {m: {bundle: b}}\nhttp: {listen: 0.0.0.0:80, tokens_file: tokens.yaml}")
    http = load_config(path, {}).http
    assert (http.host, http.tokens_file) == ("0.0.0.0", tmp_path / "tokens.yaml")
    assert scopes_of(TOKEN, http.token_digests) == {"ingest"}


def test_what_is_wrong_with_the_tokens_is_listed_with_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "trueup.yaml"
    path.write_text("models: {m: {bundel: b}}\nhttp:\n  tokens_file: no.yaml\n")
    with pytest.raises(DocumentError) as caught:
        load_config(path, {})
    assert [(fault.line, fault.location) for fault in caught.value.faults][1:] == [(3, ("http", "tokens_file"))]
    assert f"{tmp_path / 'no.yaml'}: the tokens file cannot be read (got No such file or directory)" in str(
        caught.value
    )
