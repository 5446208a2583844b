"""Models as bytes: the list, and each by its id."""

from __future__ import annotations

import httpx
import pytest

from tests.clients import openai_schemas
from tests.clients.raw import MODEL, error_of


def test_models_are_listed(api: httpx.Client) -> None:
    body = api.get("/models").json()
    openai_schemas.check("ListModelsResponse", body)
    assert body["object"] == "list"
    for model in body["data"]:
        assert set(model) >= {"id", "object", "created", "owned_by"}
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["created"] < 10**11, "seconds, not milliseconds"
    ids = [model["id"] for model in body["data"]]
    assert MODEL in ids
    assert len(ids) == len(set(ids))


def test_each_listed_model_is_retrieved_by_its_id_encoded_or_not(api: httpx.Client) -> None:
    for model in api.get("/models").json()["data"]:
        name = model["id"]
        encoded = "".join(f"%{byte:02X}" for byte in name.encode())
        for path in (name, encoded, name.replace(":", "%3A").replace("/", "%2F")):
            response = api.get(f"/models/{path}")
            assert response.status_code == 200, (path, response.text)
            assert response.json().items() >= model.items()


@pytest.mark.parametrize("name", ["nobody", "scene:nobody", "a/b", "a%2Fb", "x" * 300, "☃"])
def test_an_unknown_model_is_404(api: httpx.Client, name: str) -> None:
    assert error_of(api.get(f"/models/{name}"), 404)["code"] == "model_not_found"
