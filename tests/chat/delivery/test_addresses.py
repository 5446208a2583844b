"""Where webhooks may not go, by address, by name, and by a name that changes its mind."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.network.public_addresses import is_link_local, is_public
from chat.delivery.addresses import UnsafeURLError, check_url, parse_url
from chat.delivery.deliverer import Deliverer
from chat.models import LLMModel
from tests.chat.delivery.conftest import (
    deliver,
    end_task,
    make_due,
    make_endpoint,
    the_delivery,
)
from tests.receiver import Receiver

FORBIDDEN = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",  # noqa: S104
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
    "2001:db8::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2002:7f00:1::", "2002:a00:1::",
    "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    # What Python's own list of an older release lacks.
    "168.63.129.16", "192.0.0.8", "192.0.0.170", "192.0.0.255", "192.88.99.1", "100.127.255.255",
    "198.19.255.255", "0.255.255.255", "::ffff:168.63.129.16", "64:ff9b::a83f:8110",
    "2001:2::1", "2001:20::1", "2001:1ff:ffff::1", "2002:808:808::", "3fff::1", "3fff:fff::1",
    "5f00::1", "100:0:0:1::1", "::8.8.8.8", "64:ff9b:1::808:808", "fd00:ec2::254", "4000::1",
    "1fff::1", "::ffff:0:8.8.8.8",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1",
    "::ffff:8.8.8.8", "64:ff9b::808:808", "192.0.1.1", "192.88.98.1", "198.20.0.1", "168.63.129.17",
    "100.63.255.255", "100.128.0.1", "2001:200::1", "2001:4860:4860::8888", "2620:4f:8000::1",
    "3fff:1000::1", "2003::1",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


LINK_LOCAL = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "168.63.129.16", "192.0.0.192",
    "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254",
]  # fmt: skip


@pytest.mark.parametrize("address", LINK_LOCAL)
def test_link_local_addresses_and_metadata_services_are_known(address: str) -> None:
    assert is_link_local(address)
    assert not is_public(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "fd12::1", "1.1.1.1"])
def test_other_addresses_are_not_link_local(address: str) -> None:
    assert not is_link_local(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/",
        "https://localhost./",
        "https://127.0.0.1:8443/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1]/",
        "https://169.254.169.254/latest/meta-data",
        "http://1.1.1.1/",
        "ftp://1.1.1.1/",
        "https://user:password@1.1.1.1/",
        "https://1.1.1.1:0/",
        "https://1.1.1.1:99999/",
        "https:///path",
        "https://",
        "/relative",
        "not a url",
        "",
        "https://1.1.1.1/" + "x" * 2000,
    ],
)
async def test_unsafe_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsafeURLError):
        await check_url(url)


async def test_a_public_address_passes() -> None:
    await check_url("https://1.1.1.1:8443/hook?token=1")


def test_http_needs_a_setting(settings: Settings) -> None:
    settings.WEBHOOK_REQUIRE_HTTPS = False
    assert parse_url("http://1.1.1.1/").host == "1.1.1.1"


class Names:
    """A fake DNS: each look-up gets the next answer, and then always the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.look_ups: list[str] = []
        self._answers = list(answers)
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        self.look_ups.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"]])
async def test_a_name_with_any_address_inside_is_refused(
    answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, answer)
    with pytest.raises(UnsafeURLError, match=r"hooks\.example"):
        await check_url("https://hooks.example/")


async def test_a_name_that_moved_inside_after_it_was_checked_is_not_called(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    Names(monkeypatch, ["1.1.1.1"], ["127.0.0.1"])
    await check_url(url)
    await in_database(make_endpoint, alice, url)
    await in_database(end_task, alice, model)

    await deliver(deliverer)

    assert receiver.requests == []
    delivery = await the_delivery()
    assert (delivery.state, "not public" in delivery.error) == ("pending", True)
    # The receiver was there all the time: it was the check that kept it from being called.
    settings.WEBHOOK_ALLOW_PRIVATE = True
    await in_database(make_due)
    await deliver(deliverer)
    assert len(receiver.requests) == 1


async def test_the_connection_goes_to_the_address_that_was_checked(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    await in_database(make_endpoint, alice, url)
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    [(headers, _)] = receiver.requests
    assert headers["Host"] == url.removeprefix("http://")
    assert names.look_ups.count("hooks.example") == 1


async def test_no_connection_outlives_the_judgement_of_its_address(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    settings: Settings,
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    settings.WEBHOOK_ALLOW_PRIVATE = False
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    assert len(receiver.requests) == 1
