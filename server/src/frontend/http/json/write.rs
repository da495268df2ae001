//! From a message to JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _};
use serde_json::{Map, Value};
use sixpin_proto::prost::{Message, Name};

use super::{descriptor, is_time, is_wide, short};

/// The fields of a message.
pub(in crate::frontend::http) fn write<M: Message + Name>(message: &M) -> Map<String, Value> {
    let Some(descriptor) = descriptor::<M>() else { return Map::new() };
    let mut dynamic = DynamicMessage::new(descriptor);
    // It was made by the same descriptors.
    match dynamic.transcode_from(message) {
        Ok(()) => fields(&dynamic),
        Err(error) => {
            tracing::error!(%error, message = M::NAME, "a message does not fit its descriptor");
            Map::new()
        }
    }
}

fn fields(message: &DynamicMessage) -> Map<String, Value> {
    let mut fields = Map::new();
    for field in message.descriptor().fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        let value = message.get_field(&field);
        if let Some(json) = of_field(&field, &value) {
            fields.insert(field.json_name().to_owned(), json);
        }
        if let prost_reflect::Value::Bytes(bytes) = &*value
            && let Some(text) = text(bytes)
        {
            fields.insert("text".to_owned(), text.into());
        }
    }
    fields
}

/// None for an enum that says nothing.
fn of_field(field: &FieldDescriptor, value: &prost_reflect::Value) -> Option<Value> {
    match value {
        prost_reflect::Value::List(entries) => {
            Some(entries.iter().filter_map(|entry| single(field, entry)).collect::<Vec<_>>().into())
        }
        value => single(field, value),
    }
}

fn single(field: &FieldDescriptor, value: &prost_reflect::Value) -> Option<Value> {
    use prost_reflect::Value as Is;
    Some(match value {
        Is::Bool(is) => (*is).into(),
        Is::I32(number) => (*number).into(),
        Is::U32(number) => (*number).into(),
        Is::U64(number) if is_wide(field) => number.to_string().into(),
        Is::U64(number) if is_time(field) => (*number).into(),
        Is::U64(number) => number.to_string().into(),
        Is::String(text) => text.clone().into(),
        Is::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
        Is::EnumNumber(0) => return None,
        Is::EnumNumber(number) => enumerated(field, *number),
        Is::Message(message) => fields(message).into(),
        // No message has others.
        _ => return None,
    })
}

fn enumerated(field: &FieldDescriptor, number: i32) -> Value {
    let Kind::Enum(kind) = field.kind() else { return number.into() };
    let known = kind.get_value(number);
    known.map_or_else(|| number.to_string().into(), |known| short(&kind, known.name()).into())
}

/// What a value block says, if people can read it: what it is padded with does not count.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.is_empty() && !text.chars().any(|character| character.is_control() && character != '\n')).then_some(text)
}
