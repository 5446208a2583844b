"""Links from files: cells name rows of another table."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from chat.tables.imports import links as links_of_files
from chat.tables.imports import loading
from tests.chat.tables.conftest import Grid, Grids
from tests.chat.tables.transfers import Imports
from tests.conftest import ClientOf

pytestmark = pytest.mark.django_db(transaction=True)
Json = dict[str, Any]


@pytest.fixture
def imports(grids: Grids) -> Imports:
    return Imports(grids.client)


@pytest.fixture
def makers(grids: Grids) -> Grid:
    """What products link to."""
    grid = grids.make("Makers", Name="text", Number="number")
    names = ["Acme", "Bolt, Nut & Co", "Twin", "Twin", "中文 Ltd"]
    grid.create(*({"Name": name, "Number": 10 + n} for n, name in enumerate(names)))
    return grid


@pytest.fixture
def products(grids: Grids, makers: Grid) -> Grid:
    grid = grids.make("Products", SKU="text")
    grid.add_field("Makers", "link", table=makers.id)
    return grid


def links(grid: Grid) -> dict[str, list[int] | None]:
    """The linked rows by SKU."""
    rows = grid.send("get", "/rows?limit=500").json()["rows"]
    named = [grid.named(row["values"]) for row in rows]
    return {row["SKU"]: row["Makers"] for row in named}


def test_names_are_found_and_what_is_none_is_reported(imports: Imports, products: Grid) -> None:
    file = (
        "SKU,Makers\nA,Acme\nB,\nC,Acme; 中文 Ltd\n"
        'D,"Bolt, Nut & Co"\nE,Nobody\nF,Twin\nG,"[""中文 Ltd"", ""Acme""]"\n'
    )
    job = imports.inspected(file, table=products)
    # By the name of the column, as other fields.
    assert job["mapping"] == [{"field": products.key("SKU")}, {"field": products.key("Makers")}]
    job = imports.patch(job, max_bad_percent=50)
    job = imports.run(job)
    assert (job["state"], job["created_rows"], job["bad_rows"]) == ("done", 5, 2)
    assert links(products) == {"A": [1], "B": None, "C": [1, 5], "D": [2], "G": [5, 1]}
    assert imports.report(job)[1:] == [
        ["6", "Makers", "Nobody", "No row of the linked table has 'Nobody'."],
        ["7", "Makers", "Twin", "2 rows of the linked table have 'Twin'."],
    ]


@pytest.mark.parametrize(("by", "cell"), [("Number", "10"), ("id", "1")])
def test_another_field_or_the_id_may_name_rows(
    imports: Imports, products: Grid, makers: Grid, by: str, cell: str
) -> None:
    job = imports.inspected(f"SKU,Maker\nA,{cell}\n", table=products)
    key = makers.key(by) if by != "id" else by
    mapping = [{"field": products.key("SKU")}, {"field": products.key("Makers"), "by": key}]
    job = imports.run(imports.patch(job, mapping=mapping))
    assert job["state"] == "done", job
    assert links(products) == {"A": [1]}


def test_an_upsert_of_links_is_undone(imports: Imports, products: Grid) -> None:
    products.create(
        {"SKU": "A", "Makers": [1]}, {"SKU": "B", "Makers": [2, 1]}, {"SKU": "C", "Makers": [5]}
    )
    before = links(products)
    job = imports.inspected("SKU,Makers\nA,中文 Ltd\nB,Acme\nC,中文 Ltd\nD,Acme\n", table=products)
    job = imports.patch(job, mode="upsert", key_field=products.key("SKU"))
    job = imports.run(job)
    assert (job["created_rows"], job["updated_rows"]) == (1, 2)
    assert links(products) == {"A": [5], "B": [1], "C": [5], "D": [1]}
    # Somebody has changed one since.
    products.batch({"op": "update", "id": 1, "values": {"Makers": [2]}})
    imports.act(job, "undo")
    assert links(products) == {**before, "A": [2]}


def test_what_a_link_cannot_be_found_by_is_refused(
    imports: Imports, products: Grid, makers: Grid, grids: Grids
) -> None:
    job = imports.inspected("SKU,Makers\nA,Acme\n", table=products)
    own, link = products.key("SKU"), products.key("Makers")
    for by in ("f0", own, 7, ["id"]):
        mapping = [{"field": own}, {"field": link, "by": by}]
        refused = imports.patch(job, 400, mapping=mapping)
        assert refused["errors"][0]["field"] == "mapping.1.by"
    refused = imports.patch(job, 400, mapping=[{"field": own, "by": "id"}, None])
    assert refused["errors"][0]["field"] == "mapping.0.by"
    grids.client.delete(makers.path)
    refused = imports.patch(job, 400, mapping=[{"field": own}, {"field": link}])
    assert refused["errors"][0]["field"] == "mapping.1.field"


def test_names_of_a_table_that_one_may_not_read_tell_nothing(
    products: Grid, bob: User, client_of: ClientOf
) -> None:
    shares = {"shares": [{"user": bob.username, "access": ["edit"]}]}
    assert products.send("put", "/shares", shares).status_code == 200
    imports = Imports(client_of(bob))
    job = imports.inspected("SKU,Makers\nA,Acme\n", table=products)
    refused = imports.act(job, "start", 400)
    assert refused["errors"][0]["field"] == "mapping.1.field"


def test_names_that_were_forgotten_are_found_again(
    imports: Imports, products: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_of_files, "MAX_KNOWN_BYTES", 200)
    monkeypatch.setattr(loading, "CHUNK_ROWS", 2)
    names = ["Acme", "中文 Ltd", "Acme", "Acme", "中文 Ltd", "Acme"]
    lines = "".join(f"{n},{name}\n" for n, name in enumerate(names))
    job = imports.run(imports.inspected(f"SKU,Makers\n{lines}", table=products))
    assert (job["created_rows"], job["bad_rows"]) == (6, 0)


def test_queries_do_not_grow_with_rows(imports: Imports, products: Grid) -> None:
    counts = []
    for rows in (2, 400):
        lines = "".join(f"{rows}-{n},Acme\n" for n in range(rows))
        job = imports.inspected(f"SKU,Makers\n{lines}", table=products)
        with CaptureQueriesContext(connection) as queries:
            assert imports.run(job)["created_rows"] == rows
        counts.append(len(queries))
    assert counts[0] == counts[1]
