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


CASES = [
    *((GenerationMode.POSITIVE, "GET", path) for path in ("/healthz", "/readyz", "/metrics")),
    *(
        (mode, "POST", path)
        for path in ("/search", "/add", "/swap")
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    ),
]


@pytest.fixture(scope="module")
def url(files):
    """A service that accepts bodies of the generated sizes."""
    chosen = ServerSettings(max_vectors=16, max_k=50, swap_folder=files)
    with serve(create_app(wf.read_index(files / "one.wf"), chosen)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.filterwarnings("ignore:.*as far from the mean as any:RuntimeWarning")
@pytest.mark.parametrize(("mode", "method", "path"), CASES)
def test_the_service_keeps_to_its_document(url, mode, method, path):
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]

    @settings(
        max_examples=30 if method == "POST" else 3,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()
