"""The service against its own OpenAPI document: what is asked is made up by schemathesis."""

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

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
)


@pytest.mark.filterwarnings("ignore:.*as far from the mean as any:RuntimeWarning")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("POST", "/search"),
        ("POST", "/add"),
        ("POST", "/swap"),
    ],
)
def test_the_service_keeps_to_its_document(client, method, path, mode):
    api = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    operation = api[path][method]
    if mode is GenerationMode.NEGATIVE and method == "GET":
        return  # nothing to get wrong

    @settings(max_examples=30, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()
