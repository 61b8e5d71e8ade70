"""What a tool of an MCP server answered, as one JSON value. Pure."""

from mcp.types import CallToolResult, ContentBlock, EmbeddedResource, ResourceLink, TextContent, TextResourceContents
from pydantic import JsonValue


def result_of(answer: CallToolResult) -> JsonValue:
    """Its structured content where it has some, else its text; with other content a list of all parts. What is no text
    (images, audio, files) is described, not included."""
    parts = [_part(block) for block in answer.content]
    others = [part for part in parts if not isinstance(part, str)]
    structured: JsonValue = answer.structured_content
    if structured is None:
        return list(parts) if others else text_of(answer)
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        structured = structured["result"]  # how the SDKs wrap what is no object
    return {"structured": structured, "content": list(others)} if others else structured


def text_of(answer: CallToolResult) -> str:
    return "\n".join(block.text for block in answer.content if isinstance(block, TextContent))


def _part(block: ContentBlock) -> JsonValue:
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, ResourceLink):
        return {"type": "resource_link", "uri": str(block.uri), "name": block.name}
    if isinstance(block, EmbeddedResource):
        resource = block.resource
        about: dict[str, JsonValue] = {"type": "resource", "uri": str(resource.uri), "mime_type": resource.mime_type}
        if isinstance(resource, TextResourceContents):
            return about | {"text": resource.text}
        return about | {"bytes": _decoded(resource.blob)}
    return {"type": block.type, "mime_type": block.mime_type, "bytes": _decoded(block.data)}


def _decoded(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")
