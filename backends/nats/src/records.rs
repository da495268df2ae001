//! The root record and the registrations as bytes: JSON, so that an operator can read them with the tools of NATS.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sixpin_core::backend::{Beat, BrokerInfo, Pulse, Root, StoreError};
use sixpin_core::name::{Incarnation, Version};

/// The only format there is so far.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootRecord {
    format: u32,
    identity: String,
    secret_key: String,
    base: u64,
}

/// The root record, and what is added to sequences to make versions.
pub(crate) fn encode_root(root: &Root, base: u64) -> Bytes {
    let record = RootRecord {
        format: FORMAT,
        identity: format!("{:016x}", root.identity),
        secret_key: BASE64.encode(root.secret_key),
        base,
    };
    to_bytes(&record)
}

/// Undoes [`encode_root`].
pub(crate) fn decode_root(bytes: &[u8]) -> Result<(Root, u64), StoreError> {
    let record: RootRecord = serde_json::from_slice(bytes).map_err(|error| corrupt("the root record", &error))?;
    let identity = u64::from_str_radix(&record.identity, 16);
    let key = BASE64.decode(&record.secret_key).ok().and_then(|key| key.try_into().ok());
    match (record.format, identity, key) {
        (FORMAT, Ok(identity), Some(secret_key)) => Ok((Root { secret_key, identity }, record.base)),
        (FORMAT, ..) => Err(StoreError::Corrupt("the root record has a wrong identity or key".into())),
        (format, ..) => Err(StoreError::Corrupt(format!("the root record has format {format}"))),
    }
}

/// A registration as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    format: u32,
    pub(crate) gone: bool,
    pub(crate) beat: u64,
    broker_ttl_us: u64,
    round_trip_us: u64,
    standing: String,
    name: String,
    address: String,
    admin_address: String,
    program: String,
}

impl Registration {
    /// What a beat stores.
    pub(crate) fn of(beat: Beat) -> Self {
        Self {
            format: FORMAT,
            gone: false,
            beat: beat.number,
            broker_ttl_us: microseconds(beat.broker_ttl),
            round_trip_us: microseconds(beat.round_trip),
            standing: beat.standing.to_string(),
            name: beat.info.name,
            address: beat.info.address,
            admin_address: beat.info.admin_address,
            program: beat.info.program,
        }
    }

    /// What is stored of a broker that nobody ever saw, so that it can never register.
    pub(crate) fn never_seen() -> Self {
        Self {
            format: FORMAT,
            gone: true,
            beat: 0,
            broker_ttl_us: 0,
            round_trip_us: 0,
            standing: String::new(),
            name: String::new(),
            address: String::new(),
            admin_address: String::new(),
            program: String::new(),
        }
    }

    /// The same, marked as final.
    #[must_use]
    pub(crate) fn buried(self) -> Self {
        Self { gone: true, ..self }
    }

    pub(crate) fn encode(&self) -> Bytes {
        to_bytes(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| corrupt("a registration", &error))?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            Err(StoreError::Corrupt(format!("a registration has format {}", record.format)))
        }
    }

    /// As others see it.
    pub(crate) fn pulse(self, broker: Incarnation, version: Version) -> Pulse {
        Pulse {
            broker,
            version,
            gone: self.gone,
            beat: self.beat,
            broker_ttl: Duration::from_micros(self.broker_ttl_us),
            round_trip: Duration::from_micros(self.round_trip_us),
            // Whatever cannot be read says nothing.
            standing: self.standing.parse().unwrap_or_default(),
            info: BrokerInfo {
                name: self.name,
                address: self.address,
                admin_address: self.admin_address,
                program: self.program,
            },
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn to_bytes(record: &impl Serialize) -> Bytes {
    // Plain structs of numbers and text always serialise; an empty record would be refused by whoever reads it.
    serde_json::to_vec(record).unwrap_or_default().into()
}

fn corrupt(what: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("{what} cannot be understood: {error}"))
}

#[cfg(test)]
mod tests {
    use sixpin_core::standing::Standing;

    use super::*;

    #[test]
    fn the_root_comes_back_and_nothing_else_does() {
        let root = Root { secret_key: [7; 32], identity: u64::MAX - 1 };
        let bytes = encode_root(&root, 42);
        assert_eq!(decode_root(&bytes), Ok((root, 42)));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let damaged = [
            String::new(),
            "{}".into(),
            text.replace("\"format\":1", "\"format\":2"),
            text.replace("fff", "xyz"),
            text.replace("\"base\"", "\"bass\""),
        ];
        for bytes in damaged {
            assert!(matches!(decode_root(bytes.as_bytes()), Err(StoreError::Corrupt(_))), "{bytes}");
        }
    }

    #[test]
    fn a_registration_comes_back() {
        let beat = Beat {
            broker: Incarnation(1),
            expected: Version::ABSENT,
            number: 9,
            broker_ttl: Duration::from_secs(5),
            round_trip: Duration::from_micros(1_234),
            standing: Standing { known: vec![Incarnation(7)], ..Standing::default() },
            info: BrokerInfo { name: "«ü»\"\n".into(), address: "a:1".into(), ..BrokerInfo::default() },
        };
        let record = Registration::of(beat.clone());
        assert_eq!(Registration::decode(&record.encode()), Ok(record.clone()));
        let pulse = record.buried().pulse(Incarnation(1), Version(3));
        assert!(pulse.gone);
        assert_eq!((pulse.beat, pulse.broker_ttl, pulse.round_trip), (9, beat.broker_ttl, beat.round_trip));
        assert_eq!((pulse.info, pulse.standing), (beat.info, beat.standing));
        assert!(matches!(Registration::decode(b"{}"), Err(StoreError::Corrupt(_))));
    }
}
