"""Nodes of LlamaIndex as stored documents, and filters of their metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from waterfill._util.optional import required
from waterfill.integrations.document_table import StoredDocument

with required("llama_index", "waterfill.integrations.llama_index", "llama-index"):
    from llama_index.core.schema import BaseNode
    from llama_index.core.vector_stores.types import FilterCondition, MetadataFilters
    from llama_index.core.vector_stores.utils import (
        build_metadata_filter_fn,
        metadata_dict_to_node,
        node_to_metadata_dict,
    )

_NODE = ("_node_content", "_node_type")
_PARENTS = ("document_id", "doc_id", "ref_doc_id")

Test = Callable[[dict[str, Any]], bool]


def as_stored(node: BaseNode) -> StoredDocument:
    """Return what is stored of a node: all but its embedding."""
    described = node_to_metadata_dict(node)
    content = json.dumps({name: described[name] for name in _NODE})
    metadata = {**node.metadata, **{name: described[name] for name in _PARENTS}}
    return StoredDocument(node.node_id, content, metadata, node.ref_doc_id)


def as_node(stored: StoredDocument) -> BaseNode:
    """Return the node that is stored, without its embedding."""
    return metadata_dict_to_node(json.loads(stored.content))


def as_test(filters: MetadataFilters | None) -> Test:
    """Return the test that filters stand for; nested ones too, which the host's function lacks."""
    if filters is None or not filters.filters:
        return lambda metadata: True
    tests = [
        as_test(one) if isinstance(one, MetadataFilters) else _as_leaf(one)
        for one in filters.filters
    ]
    condition = filters.condition or FilterCondition.AND
    if condition == FilterCondition.AND:
        return lambda metadata: all(test(metadata) for test in tests)
    passes = condition == FilterCondition.OR
    return lambda metadata: any(test(metadata) for test in tests) == passes


def _as_leaf(one: Any) -> Test:
    looked_at: dict[str, Any] = {}
    host = build_metadata_filter_fn(lambda _: looked_at, MetadataFilters(filters=[one]))

    def test(metadata: dict[str, Any]) -> bool:
        looked_at[one.key] = metadata.get(one.key)
        try:
            return bool(host(""))
        except TypeError as error:
            raise TypeError(
                f"filters: {one.operator.value!r} of {one.key!r}: expected what goes with "
                f"{metadata.get(one.key)!r}, got {one.value!r}: {error}"
            ) from None

    return test
