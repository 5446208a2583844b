"""Passwords are hashed by few threads, and hold no database connection meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings

from accounts.models import APIKey, User
from accounts.sessions import hashing
from aily import settings as written
from tests.pools import small_pool


class Hashing:
    """Each hash waits until it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = threading.Semaphore(0)
        self.at_once = self.most_at_once = 0
        self.niceness: set[int] = set()
        self._lock = threading.Lock()

    def encode(self, hasher: Any, password: str, salt: str, iterations: Any = None) -> str:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        self.begun.release()
        assert self.release.wait(60)
        with self._lock:
            self.at_once -= 1
        return f"pbkdf2_sha256$1${salt}$hash"


@pytest.fixture
def few_threads(settings: Settings) -> Iterator[None]:
    settings.PASSWORD_HASHERS = ["accounts.sessions.hashing.BoundedPBKDF2Hasher"]
    settings.LOGIN_HASHES_AT_ONCE, settings.LOGIN_HASHES_WAITING = 1, 3
    _forget()
    yield
    _forget()


def _forget() -> None:
    hashing._executor.cache_clear()
    hashing._room.cache_clear()


def log_in(number: int) -> Any:
    client = Client(REMOTE_ADDR=f"192.0.2.{number}")
    try:
        return client.post("/login/", {"username": f"user-{number}", "password": "wrong"})
    finally:
        connections.close_all()


def test_few_are_hashed_at_once_and_hold_no_connection_while_others_are_served(
    alice: User, few_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Hashing()
    monkeypatch.setattr(
        PBKDF2PasswordHasher, "encode", lambda *args, **kwargs: work.encode(*args, **kwargs)
    )
    client = Client(headers={"Authorization": f"Bearer {APIKey.create(alice, 'test')[1]}"})
    with small_pool(1), ThreadPoolExecutor(8) as executor:
        logins: list[Future[Any]] = [executor.submit(log_in, number) for number in range(1, 9)]
        try:
            assert work.begun.acquire(timeout=30)
            # One is being hashed, three wait, four have no place: these are told so at once.
            refused = _first(logins, 4)
            for answer in refused:
                assert (answer.status_code, answer["Retry-After"]) == (429, "5")
            # The only connection of the process is free.
            for _ in range(3):
                assert client.get("/api/llmchat/tasks").status_code == 200
                connection.close()
        finally:
            work.release.set()
        answers = [login.result(60) for login in logins]
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4
    assert work.most_at_once == 1
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert work.niceness == {min(own + hashing.NICENESS, 19)}


def _first(futures: list[Future[Any]], count: int) -> list[Any]:
    """The results of those that are done first."""
    done = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: done.release())
    for _ in range(count):
        assert done.acquire(timeout=30)
    return [future.result() for future in futures if future.done()]


def test_what_found_no_place_is_not_counted_as_a_try(
    alice: User, few_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    form = {"username": "alice", "password": "wrong"}
    with monkeypatch.context() as patched:
        patched.setattr(hashing, "_room", lambda: threading.Semaphore(0))
        for _ in range(9):
            assert client.post("/login/", form).status_code == 429
    answers = [client.post("/login/", form).status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]


def test_hashes_are_djangos(few_threads: None, settings: Settings) -> None:
    encoded = make_password("wonderland-7")
    assert encoded.startswith("pbkdf2_sha256$")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    assert check_password("wonderland-7", encoded)
    assert not check_password("wonderland-8", encoded)


def test_an_older_hash_is_replaced_at_the_next_log_in(
    alice: User, few_threads: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PASSWORD_HASHERS += ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)
    assert alice.password.startswith("md5$")
    answer = Client().post("/login/", {"username": "alice", "password": "wonderland-7"})
    assert answer.status_code == 302
    alice.refresh_from_db()
    assert alice.password.startswith("pbkdf2_sha256$1000$")
    assert alice.check_password("wonderland-7")


def test_the_settings_name_the_bounded_hasher_first(settings: Settings) -> None:
    assert written.PASSWORD_HASHERS[0] == "accounts.sessions.hashing.BoundedPBKDF2Hasher"
