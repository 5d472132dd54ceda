"""The service against its own OpenAPI document, with requests that schemathesis generates."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.asgi_server import serve

import waterfill as wf
from waterfill.server import ServerSettings, create_app

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
)


CHANGES = (("POST", "/add"), ("POST", "/upsert"), ("POST", "/remove"))
BY_ID = ("DELETE", "/vectors/{id}")
BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CASES = [
    *((BOTH[0], "file", "GET", path) for path in ("/healthz", "/readyz", "/metrics")),
    *((mode, "file", "POST", path) for path in ("/search", "/swap") for mode in BOTH),
    *(
        (mode, kind, *operation)
        for operation in (*CHANGES, BY_ID)
        for kind in ("file", "folder")
        for mode in BOTH
    ),
]


@pytest.fixture(scope="module")
def urls(files, tmp_path_factory):
    """Services of a file and of a folder, which accept bodies of the generated sizes."""
    chosen = ServerSettings(max_vectors=16, max_k=50, swap_folder=files)
    file, path = wf.read_index(files / "one.wf"), tmp_path_factory.mktemp("folders") / "a.wfx"
    with (
        wf.open_index(path, "w", codec=file.codec, sync="none") as folder,
        serve(create_app(file, chosen)) as of_file,
        serve(create_app(folder, chosen)) as of_folder,
    ):
        yield {"file": f"http://127.0.0.1:{of_file}", "folder": f"http://127.0.0.1:{of_folder}"}


@pytest.mark.filterwarnings("ignore:.*as far from the mean as any:RuntimeWarning")
@pytest.mark.parametrize(("mode", "kind", "method", "path"), CASES)
def test_the_service_keeps_to_its_document(urls, mode, kind, method, path):
    operation = schemathesis.openapi.from_url(f"{urls[kind]}/openapi.json")[path][method]

    @settings(
        max_examples=3 if method == "GET" else 30,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()
