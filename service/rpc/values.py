"""A protocol message -> plain values under the same names, for the checks that every face shares. Knows no message."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def values_of(message: Message) -> dict[str, Any]:
    """Only the fields that are set, so that defaults stay in one place."""
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [values_of(item) if isinstance(item, Message) else item for item in value]
    return values_of(value) if isinstance(value, Message) else value
