//! Messages as JSON, as the documentation promises it. What is written says all that a field can say; what is read must be
//! exactly what is promised.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value as Field,
};
use serde_json::{Map, Value};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(sixpin_proto::FILE_DESCRIPTOR_SET).unwrap());

pub fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap()
}

pub fn method(service: &str, name: &str) -> MethodDescriptor {
    let service = POOL.get_service_by_name(&format!("sixpin.v1.{service}")).unwrap();
    service.methods().find(|method| method.name() == name).unwrap()
}

/// The fields that are not as they are without being said.
pub fn write(message: &DynamicMessage) -> Map<String, Value> {
    let mut fields = Map::new();
    for (field, value) in message.fields() {
        let said = match value {
            Field::List(entries) => Value::Array(entries.iter().map(|entry| written(&field, entry)).collect()),
            // An enum that says nothing is left out, whether it is there or not.
            Field::EnumNumber(0) => continue,
            value => written(&field, value),
        };
        fields.insert(field.json_name().to_owned(), said);
    }
    fields
}

fn written(field: &FieldDescriptor, value: &Field) -> Value {
    match value {
        Field::Bool(is) => (*is).into(),
        Field::U32(number) => (*number).into(),
        Field::U64(number) => number.to_string().into(),
        Field::String(text) => text.clone().into(),
        Field::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
        Field::EnumNumber(number) => {
            let kind = enumeration(field);
            let value = kind.get_value(*number);
            // One that nobody knows.
            value.map_or_else(|| (*number).into(), |value| value.name().strip_prefix(&prefix(&kind)).unwrap().into())
        }
        Field::Message(message) => write(message).into(),
        other => panic!("no message has {other:?}"),
    }
}

/// What these fields say.
pub fn read(descriptor: &MessageDescriptor, fields: &Map<String, Value>) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in fields {
        let Some(field) = descriptor.get_field_by_json_name(name) else {
            let has_bytes = descriptor.fields().any(|field| field.kind() == Kind::Bytes);
            assert!(name == "text" && has_bytes, "`{name}` is no field of {}: {fields:?}", descriptor.name());
            continue;
        };
        let value = if field.is_list() {
            Field::List(value.as_array().unwrap().iter().map(|entry| single(&field, entry)).collect())
        } else {
            single(&field, value)
        };
        message.set_field(&field, value);
    }
    for field in descriptor.fields() {
        let may_miss = field.supports_presence() || matches!(field.kind(), Kind::Enum(_)) && !field.is_list();
        assert!(may_miss || fields.contains_key(field.json_name()), "`{}` is missing: {fields:?}", field.json_name());
    }
    message
}

fn single(field: &FieldDescriptor, value: &Value) -> Field {
    let is_time = field.name().ends_with("_ms") || field.name().ends_with("_us");
    let read = match (field.kind(), value) {
        (Kind::Bool, Value::Bool(is)) => Some(Field::Bool(*is)),
        (Kind::Uint32 | Kind::Fixed32, value) => value.as_u64().map(|number| Field::U32(number as u32)),
        (Kind::Uint64 | Kind::Fixed64, value) if is_time => value.as_u64().map(Field::U64),
        (Kind::Uint64 | Kind::Fixed64, Value::String(text)) => text.parse().ok().map(Field::U64),
        (Kind::String, Value::String(text)) => Some(Field::String(text.clone())),
        (Kind::Bytes, Value::String(text)) => BASE64_STANDARD.decode(text).ok().map(|bytes| Field::Bytes(bytes.into())),
        (Kind::Enum(kind), Value::String(name)) => {
            kind.get_value_by_name(&(prefix(&kind) + name)).map(|value| Field::EnumNumber(value.number()))
        }
        (Kind::Message(kind), Value::Object(fields)) => Some(Field::Message(self::read(&kind, fields))),
        _ => None,
    };
    read.unwrap_or_else(|| panic!("`{}` is {value}", field.full_name()))
}

fn enumeration(field: &FieldDescriptor) -> EnumDescriptor {
    field.kind().as_enum().unwrap().clone()
}

/// What all values of an enum begin with.
fn prefix(kind: &EnumDescriptor) -> String {
    kind.get_value(0).unwrap().name().strip_suffix("UNSPECIFIED").unwrap().to_owned()
}
