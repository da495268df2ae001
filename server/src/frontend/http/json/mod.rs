//! Messages of `sixpin.v1` as JSON, by their descriptors: what a field is called and means is said once, in the proto files.
//!
//! | in proto | in JSON |
//! |---|---|
//! | `field_name` | `fieldName`; a request may say `field_name` |
//! | an enum's `MODE_EX` | `"EX"`; unspecified: left out |
//! | 64-bit numbers | decimal text, but milliseconds and microseconds, which stay small, are numbers; a request may say either |
//! | `ttl_ms` | `ttlMs`, a number; a request may say `ttl` with a unit: `"30s"` |
//! | bytes | base64; a request may say `{"text": "…"}` for UTF-8. An answer has a `text` beside `bytes` where they are some |
//! | a field without presence | always there in answers, unless it is an unspecified enum |
//! | one with presence | left out if absent; a request may say `null` |
//!
//! What a request says that nobody knows is refused by name: a field that was mistyped is never taken for one left out. Nor is what it says twice.

mod parse;
mod read;
mod write;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use sixpin_proto::prost::Name;

pub(super) use parse::parse;
pub(super) use read::{read, time};
pub(super) use write::write;

/// All messages. The descriptors are compiled in; that they can be read is checked by a test.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(sixpin_proto::FILE_DESCRIPTOR_SET).unwrap_or_else(|error| {
        tracing::error!(%error, "the descriptors of the messages cannot be read");
        DescriptorPool::new()
    })
});

/// The descriptor of a message.
pub(super) fn descriptor<M: Name>() -> Option<MessageDescriptor> {
    POOL.get_message_by_name(&M::full_name())
}

/// How a value of an enum is called: without the enum's own name in front.
pub(super) fn short<'a>(kind: &prost_reflect::EnumDescriptor, value: &'a str) -> &'a str {
    let mut prefix = String::new();
    for character in kind.name().chars() {
        if character.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(character.to_ascii_uppercase());
    }
    value.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('_')).unwrap_or(value)
}

/// Times are small enough for the numbers of JSON.
pub(super) fn is_time(field: &FieldDescriptor) -> bool {
    field.name().ends_with("_ms") || field.name().ends_with("_us")
}

/// A number of 64 bits, which JSON readers round.
pub(super) fn is_wide(field: &FieldDescriptor) -> bool {
    !is_time(field) && matches!(field.kind(), Kind::Uint64 | Kind::Fixed64 | Kind::Int64 | Kind::Sfixed64)
}

#[cfg(test)]
mod tests;
