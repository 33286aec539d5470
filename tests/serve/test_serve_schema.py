"""Whatever the OpenAPI document allows, and whatever it does not, is answered as it says."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import running

from asr_adapt.inference.transcriber import Transcriber

pytestmark = pytest.mark.slow
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def document(phones: Transcriber) -> Iterator[object]:
    with running({"base": lambda: phones}) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_is_documented(case: object) -> None:
    answer = case.call_and_validate(checks=CHECKS)  # type: ignore[attr-defined]
    documented = case.operation.definition.raw["responses"]  # type: ignore[attr-defined]
    refused = answer.status_code == 405 and "allow" in answer.headers  # a method that the document has not
    assert refused or str(answer.status_code) in documented
