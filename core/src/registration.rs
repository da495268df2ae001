//! A broker's registration as bytes, for stores that keep it in one piece.
//!
//! It is JSON, so that an operator can read it with the tools of the store. Fields that are not known are read over, so that
//! a newer program may say more.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::backend::{Beat, BrokerInfo, Pulse};
use crate::name::{Incarnation, Version};

/// The only format there is so far.
const FORMAT: u32 = 1;

/// What a registration says. The default is that of a broker nobody ever saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    format: u32,
    /// Final: its broker was declared dead, or left.
    pub gone: bool,
    /// The number of its last beat.
    pub beat: u64,
    broker_ttl_us: u64,
    round_trip_us: u64,
    standing: String,
    name: String,
    address: String,
    admin_address: String,
    program: String,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            format: FORMAT,
            gone: false,
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
}

impl Registration {
    /// What a beat stores.
    pub fn of(beat: &Beat) -> Self {
        let BrokerInfo { name, address, admin_address, program } = beat.info.clone();
        Self {
            format: FORMAT,
            gone: false,
            beat: beat.number,
            broker_ttl_us: microseconds(beat.broker_ttl),
            round_trip_us: microseconds(beat.round_trip),
            standing: beat.standing.to_string(),
            name,
            address,
            admin_address,
            program,
        }
    }

    /// The same broker, declared dead.
    #[must_use]
    pub fn buried(self) -> Self {
        Self { gone: true, ..self }
    }

    /// As bytes.
    pub fn encode(&self) -> Bytes {
        // A plain struct of numbers and texts always serialises; an empty one would be refused by whoever reads it.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads what [`Registration::encode`] wrote; an error says what is wrong with anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let registration: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("it makes no sense: {error}"))?;
        if registration.format == FORMAT {
            Ok(registration)
        } else {
            Err(format!("it has format {}, which this program does not know", registration.format))
        }
    }

    /// As others see it.
    pub fn pulse(self, broker: Incarnation, version: Version) -> Pulse {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Standing;

    fn beat() -> Beat {
        Beat {
            broker: Incarnation(1),
            expected: Version::ABSENT,
            number: 9,
            broker_ttl: Duration::from_secs(5),
            round_trip: Duration::from_micros(1_234),
            standing: Standing { known: vec![Incarnation(7)], ..Standing::default() },
            info: BrokerInfo { name: "«ü»\"\n".into(), address: "a:1".into(), ..BrokerInfo::default() },
        }
    }

    #[test]
    fn a_registration_comes_back() {
        let (registration, beat) = (Registration::of(&beat()), beat());
        assert_eq!(Registration::decode(&registration.encode()), Ok(registration.clone()));
        let pulse = registration.buried().pulse(Incarnation(1), Version(3));
        assert!(pulse.gone);
        assert_eq!((pulse.beat, pulse.broker_ttl, pulse.round_trip), (9, beat.broker_ttl, beat.round_trip));
        assert_eq!((pulse.info, pulse.standing), (beat.info, beat.standing));
    }

    #[test]
    fn what_is_not_known_is_read_over_and_what_is_missing_is_not() {
        let text = String::from_utf8(Registration::of(&beat()).encode().to_vec()).unwrap();
        let newer = text.replace("{\"format\"", "{\"mood\":\"fine\",\"format\"");
        assert_eq!(Registration::decode(newer.as_bytes()), Ok(Registration::of(&beat())));
        for damaged in ["", "{}", &text[1..], &text.replace("\"format\":1", "\"format\":2")] {
            assert!(Registration::decode(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }
}
