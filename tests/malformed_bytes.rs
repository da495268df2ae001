//! Bytes that are no message, on every method that the proto files name: the list is made from their descriptors, so that
//! a new method or field can not be forgotten.

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use sixpin_proto::v1;
use tonic::{Code, Status};

use crate::malformed::{Scene, check};
use crate::support::door::Way;
use crate::support::raw;

/// Services of the program; the floor of `bench` is another program's.
const SERVICES: [&str; 3] = ["LockService", "InspectService", "AdminService"];
/// Methods that an empty message makes sense for.
const EMPTY_IS_FINE: [&str; 7] =
    ["ListResources", "ListSessions", "ListBrokers", "GetStatus", "ListWaits", "ListContended", "DrainBroker"];

/// A field 1 of a hundred bytes, of which three come.
const CUT_OFF: &[u8] = &[0x0a, 100, 1, 2, 3];
/// A tag that no field has.
const FIELD_0: &[u8] = &[0x02, 0];
/// Groups are of a time before.
const OPEN_GROUP: &[u8] = &[0x0b];
const LONG: usize = 64 * 1024 + 1;

/// One method.
struct Method {
    path: String,
    name: String,
    service: String,
    input: DescriptorProto,
    streams: bool,
}

struct Api {
    methods: Vec<Method>,
    messages: Vec<DescriptorProto>,
}

impl Api {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(sixpin_proto::FILE_DESCRIPTOR_SET).unwrap();
        let files = || set.file.iter().filter(|file| file.package() == "sixpin.v1");
        let messages: Vec<DescriptorProto> = files().flat_map(|file| file.message_type.clone()).collect();
        let services = files().flat_map(|file| &file.service).filter(|service| SERVICES.contains(&service.name()));
        let methods = services.flat_map(|service| {
            service.method.iter().map(|method| Method {
                path: format!("/sixpin.v1.{}/{}", service.name(), method.name()),
                name: method.name().to_owned(),
                service: service.name().to_owned(),
                input: message(&messages, method.input_type()),
                streams: method.client_streaming() || method.server_streaming(),
            })
        });
        let methods: Vec<Method> = methods.collect();
        assert_eq!(methods.len(), 11 + 9 + 6, "services and methods of the proto files");
        Self { methods, messages }
    }

    /// Every field of a type within a message, however deep, as the bytes of a message that has only this field.
    fn fields(&self, of: &DescriptorProto, wanted: Type, content: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for field in &of.field {
            if field.r#type() == wanted {
                found.push((format!("{}.{}", of.name(), field.name()), delimited(field, content)));
            } else if field.r#type() == Type::Message {
                let inner = self.fields(&message(&self.messages, field.type_name()), wanted, content);
                found.extend(inner.into_iter().map(|(name, bytes)| (name, delimited(field, &bytes))));
            }
        }
        found
    }
}

fn message(messages: &[DescriptorProto], name: &str) -> DescriptorProto {
    let name = name.rsplit_once('.').unwrap().1;
    messages.iter().find(|message| message.name() == name).unwrap().clone()
}

/// A field whose content has a length.
fn delimited(field: &FieldDescriptorProto, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(field.number().cast_unsigned()) << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

struct World {
    scene: Scene,
    clients: Way,
    admins: Way,
}

impl World {
    async fn new() -> Self {
        Self::of(Scene::new().await).await
    }

    async fn of(scene: Scene) -> Self {
        let clients = scene.broker.channel().await;
        let admins = scene.broker.admin_channel().await;
        Self { scene, clients, admins }
    }

    fn channel(&self, method: &Method) -> &Way {
        if method.service == "AdminService" { &self.admins } else { &self.clients }
    }

    /// What a method says to these bytes.
    async fn refused(&self, method: &Method, bytes: Vec<u8>) -> Status {
        let channel = self.channel(method);
        let answer = if method.streams {
            raw::stream(channel, &method.path, vec![bytes]).await
        } else {
            raw::call(channel, &method.path, bytes).await.map(drop)
        };
        answer.expect_err(&method.path)
    }
}

#[tokio::test]
async fn bytes_that_are_no_message() {
    let world = World::new().await;
    for method in Api::read().methods {
        for bytes in [CUT_OFF, FIELD_0, OPEN_GROUP] {
            let status = world.refused(&method, bytes.to_vec()).await;
            check(&format!("{} {bytes:?}", method.path), &status, Code::InvalidArgument, v1::Reason::Invalid);
        }
        let status = world.refused(&method, vec![0; LONG]).await;
        check(&method.path, &status, Code::ResourceExhausted, v1::Reason::Limit);
    }
    world.scene.check_unchanged().await;
}

#[tokio::test]
async fn fields_of_the_wrong_type() {
    let world = World::new().await;
    for method in Api::read().methods {
        for field in &method.input.field {
            // No field of a request is a fixed number of four bytes.
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(u64::from(field.number().cast_unsigned()) << 3 | 5, &mut bytes);
            bytes.extend_from_slice(&[1, 2, 3, 4]);
            let status = world.refused(&method, bytes).await;
            check(&format!("{} {}", method.path, field.name()), &status, Code::InvalidArgument, v1::Reason::Invalid);
        }
    }
    world.scene.check_unchanged().await;
}

#[tokio::test]
async fn text_that_is_not_utf8() {
    let (world, api) = (World::new().await, Api::read());
    let mut texts = 0;
    for method in &api.methods {
        for (field, bytes) in api.fields(&method.input, Type::String, &[0xff, 0xfe]) {
            let status = world.refused(method, bytes).await;
            check(&format!("{} {field}", method.path), &status, Code::InvalidArgument, v1::Reason::Invalid);
            texts += 1;
        }
    }
    assert!(texts > 40, "only {texts} texts");
    world.scene.check_unchanged().await;
}

#[tokio::test]
async fn empty_messages() {
    let world = World::new().await;
    for method in Api::read().methods.iter().filter(|method| !EMPTY_IS_FINE.contains(&method.name.as_str())) {
        let status = world.refused(method, Vec::new()).await;
        check(&method.path, &status, Code::InvalidArgument, v1::Reason::Invalid);
    }
    world.scene.check_unchanged().await;
}

#[tokio::test]
async fn a_request_of_which_only_the_beginning_comes_is_ended() {
    let (scene, api) = (Scene::new().await, Api::read());
    scene.broker.use_sockets();
    let world = World::of(scene).await;
    // The first bytes of a message of a hundred.
    let half = || vec![0, 0, 0, 0, 100, 1, 2, 3];
    let calls = api.methods.iter().map(|method| raw::unfinished(world.channel(method), &method.path, half()));
    // A stream on which nothing at all is said.
    let silent = raw::unfinished(&world.clients, "/sixpin.v1.LockService/Session", Vec::new());
    let all = futures::future::join(futures::future::join_all(calls), silent);
    let (statuses, silent) = tokio::time::timeout(std::time::Duration::from_secs(60), all).await.expect("they end");
    for (method, status) in api.methods.iter().zip(&statuses) {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{}: {status:?}", method.path);
    }
    assert_eq!(silent.code(), Code::DeadlineExceeded, "{silent:?}");
    world.scene.check_unchanged().await;
}

/// Unknown numbers of these are tried one by one elsewhere: in `malformed` and `hold`.
#[test]
fn enums_of_requests_are_these() {
    let api = Api::read();
    let mut enums: Vec<String> = api
        .methods
        .iter()
        .flat_map(|method| api.fields(&method.input, Type::Enum, &[]))
        .map(|(name, _)| name)
        .collect();
    enums.sort();
    enums.dedup();
    let known = [
        "Convert.conversion_deadlock",
        "Convert.mode",
        "HoldRequest.mode",
        "LiveClaim.mode",
        "LiveClaim.wanted_mode",
        "Lock.mode",
    ];
    assert_eq!(enums, known);
}
