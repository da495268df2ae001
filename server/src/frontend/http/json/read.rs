//! From JSON to a message.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};
use sixpin_proto::prost::{Message, Name};

use super::{descriptor, short};
use crate::frontend::api::Checked;
use crate::frontend::api::errors::{invalid, missing};

/// Longest text of a time.
const TIME_BYTES_MAX: usize = 16;

/// Where in a request something stands, for people.
#[derive(Debug, Clone, Copy)]
struct Depth<'a> {
    above: Option<&'a Depth<'a>>,
    name: &'a str,
}

impl<'a> Depth<'a> {
    /// The request itself.
    const TOP: Depth<'static> = Depth { above: None, name: "" };

    fn below<'b>(&'b self, name: &'b str) -> Depth<'b>
    where
        'a: 'b,
    {
        Depth { above: Some(self), name }
    }

    fn path(&self) -> String {
        match self.above {
            Some(above) if above.above.is_some() => format!("{}.{}", above.path(), self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// The message that these fields make.
pub(in crate::frontend::http) fn read<M: Message + Name + Default>(fields: &Map<String, Value>) -> Checked<M> {
    let descriptor = descriptor::<M>().ok_or_else(|| missing(M::NAME))?;
    let message = message(&descriptor, fields, &Depth::TOP)?;
    message.transcode_to().map_err(|error| invalid(format!("the request cannot be understood: {error}")))
}

fn message(descriptor: &MessageDescriptor, fields: &Map<String, Value>, at: &Depth<'_>) -> Checked<DynamicMessage> {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let at = at.below(name);
        let (field, value) = match field(descriptor, name) {
            Some(field) => (field, value.clone()),
            None => timed(descriptor, name, value, &at)?,
        };
        let alone = field.containing_oneof().is_none_or(|one| !one.fields().any(|field| message.has_field(&field)));
        if !alone || message.has_field(&field) {
            return Err(invalid(format!("`{}` and another field say the same thing: give one of them", at.path())));
        }
        message.set_field(&field, of_field(&field, &value, &at)?);
    }
    Ok(message)
}

fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// A time with its unit, where milliseconds are counted.
fn timed(
    descriptor: &MessageDescriptor,
    name: &str,
    value: &Value,
    at: &Depth<'_>,
) -> Checked<(FieldDescriptor, Value)> {
    let Some(field) = descriptor.get_field_by_json_name(&format!("{name}Ms")) else {
        let known: Vec<String> = descriptor.fields().map(|field| format!("`{}`", field.json_name())).collect();
        let known = if known.is_empty() {
            "nothing is asked for here".into()
        } else {
            format!("there is {}", known.join(", "))
        };
        return Err(invalid(format!("`{}` is not known: {known}", at.path())));
    };
    let time = value.as_str().and_then(time).and_then(|time| u64::try_from(time.as_millis()).ok());
    let time =
        time.ok_or_else(|| invalid(format!("`{}` is a time with a unit, as \"30s\" or \"500ms\"", at.path())))?;
    Ok((field, time.into()))
}

/// A time with its unit. Longer texts than anybody needs are none: the sum of their parts could be more than a `Duration` takes,
/// on which the parser panics.
pub(in crate::frontend::http) fn time(text: &str) -> Option<Duration> {
    (text.len() <= TIME_BYTES_MAX).then(|| humantime::parse_duration(text).ok()).flatten()
}

fn of_field(field: &FieldDescriptor, value: &Value, at: &Depth<'_>) -> Checked<prost_reflect::Value> {
    if !field.is_list() {
        return single(field, value, at);
    }
    // What comes in a query is a text, of which there may be one.
    let entries = match value {
        Value::Array(entries) => entries.iter().collect(),
        Value::String(_) => vec![value],
        _ => return Err(wrong(at, "a list")),
    };
    let entries = entries.into_iter().map(|entry| single(field, entry, at));
    entries.collect::<Checked<Vec<_>>>().map(prost_reflect::Value::List)
}

fn single(field: &FieldDescriptor, value: &Value, at: &Depth<'_>) -> Checked<prost_reflect::Value> {
    use prost_reflect::Value as Is;
    Ok(match field.kind() {
        Kind::Bool => Is::Bool(boolean(value).ok_or_else(|| wrong(at, "true or false"))?),
        Kind::Uint32 | Kind::Fixed32 => {
            let number = number(value).and_then(|number| u32::try_from(number).ok());
            Is::U32(number.ok_or_else(|| wrong(at, "a number from 0 to 4294967295"))?)
        }
        Kind::Uint64 | Kind::Fixed64 => {
            let number =
                number(value).ok_or_else(|| wrong(at, "a number from 0 to 18446744073709551615, or its text"))?;
            Is::U64(number)
        }
        Kind::String => Is::String(value.as_str().ok_or_else(|| wrong(at, "a text"))?.to_owned()),
        Kind::Bytes => Is::Bytes(bytes(value).ok_or_else(|| wrong(at, "base64, or {\"text\": \"…\"}"))?.into()),
        Kind::Enum(kind) => Is::EnumNumber(enumerated(&kind, value, at)?),
        Kind::Message(kind) => {
            let fields = value.as_object().ok_or_else(|| wrong(at, "an object"))?;
            Is::Message(message(&kind, fields, at)?)
        }
        // No message has others.
        _ => return Err(wrong(at, "left out")),
    })
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(is) => Some(*is),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        // A sign or a space in front would be taken by `parse`.
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => BASE64_STANDARD.decode(text).ok(),
        Value::Object(one) if one.len() == 1 => match one.iter().next() {
            Some((name, Value::String(text))) if name == "text" => Some(text.clone().into_bytes()),
            Some((name, Value::String(text))) if name == "bytes" => BASE64_STANDARD.decode(text).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn enumerated(kind: &EnumDescriptor, value: &Value, at: &Depth<'_>) -> Checked<i32> {
    let said = value.as_str();
    let known = || kind.values().filter(|known| known.number() != 0);
    let found = known().find(|known| said == Some(short(kind, known.name())) || said == Some(known.name()));
    found.map(|found| found.number()).ok_or_else(|| {
        let names: Vec<String> = known().map(|known| short(kind, known.name()).to_owned()).collect();
        wrong(at, &format!("one of {}", names.join(", ")))
    })
}

fn wrong(at: &Depth<'_>, wanted: &str) -> sixpin_core::broker::api::RequestError {
    invalid(format!("`{}` must be {wanted}", at.path()))
}
