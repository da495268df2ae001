//! The API stays what it is: `sixpin-v1.binpb` is what was published, as descriptors, and whatever is compiled now must go on
//! understanding programs that were built with it.
//!
//! What may come is new: fields, values, methods, messages. What is there keeps its number, name, type and place in a choice,
//! because programs read numbers and JSON reads names. `UPDATE_API=1 cargo test -p sixpin-proto` notes what has come, and
//! refuses to note anything else. The bench's own service is no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const NOTED: &[u8] = include_bytes!("../sixpin-v1.binpb");
/// Files that are no part of the API.
const APART: [&str; 1] = ["sixpin/v1/bench.proto"];

fn files(bytes: &[u8]) -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(bytes).unwrap();
    set.file.into_iter().filter(|file| !APART.contains(&file.name())).collect()
}

/// What programs depend on, as lines: the thing on the left may not become another one than on the right.
fn promises(files: &[FileDescriptorProto]) -> BTreeMap<String, String> {
    let mut promises = BTreeMap::new();
    for file in files {
        for message in &file.message_type {
            of_message(message, &mut promises);
        }
        for kind in &file.enum_type {
            of_enum(kind, &mut promises);
        }
        for service in &file.service {
            for method in &service.method {
                let streams = (method.client_streaming(), method.server_streaming());
                let means = format!("{} -> {}, streams {streams:?}", method.input_type(), method.output_type());
                promises.insert(format!("{}.{}", service.name(), method.name()), means);
            }
        }
    }
    promises
}

fn of_message(message: &DescriptorProto, promises: &mut BTreeMap<String, String>) {
    for field in &message.field {
        let choice =
            field.oneof_index.and_then(|index| message.oneof_decl.get(index as usize)).map(|choice| choice.name());
        let means = format!(
            "{}, {:?} {:?} {} {}",
            field.name(),
            field.label(),
            field.r#type(),
            field.type_name(),
            choice.unwrap_or_default()
        );
        promises.insert(format!("{} field {}", message.name(), field.number()), means);
    }
    assert!(message.nested_type.is_empty() && message.enum_type.is_empty(), "{}: nothing is nested", message.name());
}

fn of_enum(kind: &EnumDescriptorProto, promises: &mut BTreeMap<String, String>) {
    for value in &kind.value {
        promises.insert(format!("{} value {}", kind.name(), value.number()), value.name().to_owned());
    }
}

#[test]
fn what_was_published_is_kept() {
    let (noted, now) = (promises(&files(NOTED)), promises(&files(sixpin_proto::FILE_DESCRIPTOR_SET)));
    let broken: Vec<String> = noted
        .iter()
        .filter(|(what, means)| now.get(*what) != Some(*means))
        .map(|(what, means)| {
            format!("{what} was `{means}` and is `{}`", now.get(what).map_or("nothing", String::as_str))
        })
        .collect();
    assert!(broken.is_empty(), "programs that exist would break:\n{}", broken.join("\n"));
    if std::env::var_os("UPDATE_API").is_some() {
        note();
        return;
    }
    let new: Vec<&String> = now.keys().filter(|what| !noted.contains_key(*what)).collect();
    assert!(new.is_empty(), "not noted yet, run `UPDATE_API=1 cargo test -p sixpin-proto`: {new:?}");
}

fn note() {
    let mut file = files(sixpin_proto::FILE_DESCRIPTOR_SET);
    for file in &mut file {
        file.source_code_info = None;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sixpin-v1.binpb");
    std::fs::write(path, FileDescriptorSet { file }.encode_to_vec()).unwrap();
}

/// A method that shares its messages with another one cannot grow alone.
#[test]
fn every_method_has_messages_of_its_own() {
    let mut seen = BTreeSet::new();
    for file in files(sixpin_proto::FILE_DESCRIPTOR_SET) {
        for method in file.service.iter().flat_map(|service| &service.method) {
            for (kind, name) in [("Request", method.input_type()), ("Response", method.output_type())] {
                assert_eq!(name, format!(".sixpin.v1.{}{kind}", method.name()));
                assert!(seen.insert(name.to_owned()), "{name} is used twice");
            }
        }
    }
}

/// Values of all enums share one namespace in some languages, and 0 is what a forgotten field means.
#[test]
fn every_enum_begins_with_its_name_and_with_nothing() {
    for kind in files(sixpin_proto::FILE_DESCRIPTOR_SET).iter().flat_map(|file| &file.enum_type) {
        let mut prefix = String::new();
        for letter in kind.name().chars() {
            if letter.is_uppercase() && !prefix.is_empty() {
                prefix.push('_');
            }
            prefix.push(letter.to_ascii_uppercase());
        }
        for value in &kind.value {
            assert!(value.name().starts_with(&format!("{prefix}_")), "{}", value.name());
            assert_eq!(value.number() == 0, value.name() == format!("{prefix}_UNSPECIFIED"), "{}", value.name());
        }
    }
}

/// Messages, fields, values, choices, services and methods: whoever reads only the proto files must understand them.
#[test]
fn everything_has_a_comment() {
    let mut bare = Vec::new();
    for file in files(sixpin_proto::FILE_DESCRIPTOR_SET) {
        let said = file.source_code_info.as_ref().expect("comments are compiled in");
        for location in &said.location {
            let is_thing =
                matches!(location.path.as_slice(), [4..=6, _] | [4, _, 2 | 8, _] | [5, _, 2, _] | [6, _, 2, _]);
            let comment = location.leading_comments.as_deref().unwrap_or_default();
            if is_thing && comment.trim().is_empty() {
                bare.push(format!("{} line {}", file.name(), location.span[0] + 1));
            }
        }
    }
    assert!(bare.is_empty(), "no comment: {bare:?}");
}
