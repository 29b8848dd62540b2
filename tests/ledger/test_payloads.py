import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.made import NOON, started
from podium.ledger import Ledger, Payload, Retention
from podium.ledger.ledger import PAYLOAD_LIMIT
from podium.ledger.payloads import PayloadFile
from podium.ledger.sqlite import PAYLOADS_NAME


def payload(number: int, body: bytes = b"body", kind: str = "request") -> Payload:
    return Payload(
        request_id=f"request-{number}",
        requested_at=NOON + number,
        attempt=1,
        kind=kind,  # type: ignore[arg-type]
        at=NOON + number,
        sha256=sha256(body).digest(),
        size=len(body),
        body=body,
    )


def kept(file: PayloadFile, *numbers: int) -> list[bool]:
    return [bool(file.find(f"request-{number}")) for number in numbers]


@pytest.mark.parametrize(
    ("mode", "body"), [("none", None), ("hashed", None), ("full", b'{"messages": [1, 2, 3]}')], ids=["none", "hashed", "full"]
)
def test_a_mode_decides_what_is_kept_of_a_body(tmp_path: Path, mode: str, body: bytes | None) -> None:
    sent = b'{"messages": [1, 2, 3]}'
    with Ledger.open(tmp_path, payloads=mode) as ledger:  # type: ignore[arg-type]
        ledger.payload(started(1), "request", sent)
        assert ledger.flush()
    found = PayloadFile(tmp_path / PAYLOADS_NAME).find("request-1")
    if mode == "none":
        assert found == []
        assert not (tmp_path / PAYLOADS_NAME).exists()
        return
    (only,) = found
    assert (only.kind, only.sha256, only.size, only.body) == ("request", sha256(sent).digest(), len(sent), body)
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (b"messages" in raw) == (mode == "full")


def test_a_long_body_is_cut_and_its_size_and_hash_are_those_of_the_whole(tmp_path: Path) -> None:
    long = b"x" * (PAYLOAD_LIMIT + 5)
    with Ledger.open(tmp_path, payloads="full") as ledger:
        ledger.payload(started(1), "response", long)
        assert ledger.flush()
    (only,) = PayloadFile(tmp_path / PAYLOADS_NAME).find("request-1")
    assert only.body == long[:PAYLOAD_LIMIT]
    assert (only.size, only.sha256) == (len(long), sha256(long).digest())
    assert (tmp_path / PAYLOADS_NAME).stat().st_size < 100_000, "it is compressed"


def test_nobody_else_may_read_the_payloads(tmp_path: Path) -> None:
    file = PayloadFile(tmp_path / PAYLOADS_NAME)
    file.add([payload(1)])
    file.close()
    assert (tmp_path / PAYLOADS_NAME).stat().st_mode & 0o077 == 0


def test_the_same_payload_twice_is_one_and_counts_once(tmp_path: Path) -> None:
    file = PayloadFile(tmp_path / PAYLOADS_NAME)
    file.add([payload(1), payload(1, kind="response")])
    file.add([payload(1)])
    assert [each.kind for each in file.find("request-1")] == ["request", "response"]
    assert file.tidy(now=NOON, age_s=None, most_bytes=2 * 204, most=10) == 0
    assert file.tidy(now=NOON, age_s=None, most_bytes=2 * 204 - 1, most=10) == 1
    file.close()


def test_what_is_too_old_goes_the_oldest_first_a_few_at_a_time(tmp_path: Path) -> None:
    file = PayloadFile(tmp_path / PAYLOADS_NAME)
    file.add([payload(number) for number in range(10)])
    assert file.tidy(now=NOON + 10, age_s=6, most_bytes=None, most=3) == 3
    assert kept(file, 0, 2, 3, 9) == [False, False, True, True]
    assert file.tidy(now=NOON + 10, age_s=6, most_bytes=None, most=3) == 1
    assert file.tidy(now=NOON + 10, age_s=6, most_bytes=None, most=3) == 0
    assert kept(file, 3, 4, 9) == [False, True, True]
    file.close()


def test_what_is_too_much_goes_the_oldest_first_and_the_file_shrinks(tmp_path: Path) -> None:
    file = PayloadFile(tmp_path / PAYLOADS_NAME)
    bodies = [sha256(bytes([number])).digest() * 300 for number in range(100)]
    noise = [b"".join(sha256(body + bytes([turn % 256])).digest() for turn in range(300)) for body in bodies]
    file.add([payload(number, body) for number, body in enumerate(noise)])
    with closing(sqlite3.connect(tmp_path / PAYLOADS_NAME)) as connection:
        before = connection.execute("PRAGMA page_count").fetchone()[0]
    steps = 0
    while file.tidy(now=NOON, age_s=None, most_bytes=100_000, most=20):
        steps += 1
    assert steps == 5
    assert kept(file, 0, 80, 95, 99) == [False, False, True, True]
    with closing(sqlite3.connect(tmp_path / PAYLOADS_NAME)) as connection:
        assert connection.execute("PRAGMA page_count").fetchone()[0] < before / 3
    file.close()


def test_the_ledger_tidies_by_itself(tmp_path: Path) -> None:
    with Ledger.open(tmp_path, payloads="full", retention=Retention(age_s=3600.0, most_bytes=None)) as ledger:
        file = PayloadFile(tmp_path / PAYLOADS_NAME)
        file.add([payload(1)])  # from long ago
        ledger.start()
        for _ in range(100):
            ledger.flush()
            if not file.find("request-1"):
                break
        assert file.find("request-1") == []
        file.close()
