//! A broker's registration as bytes.
//!
//! All numbers big-endian: the format (one byte), a byte that is 1 if the broker is gone, its beat (eight), its TTL and
//! round trip in nanoseconds (eight each), five texts (two bytes of length and UTF-8): name, address, admin address,
//! program, and what it says of the store's memory; and the CRC-32C of everything before.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use sixpin_core::backend::{Beat, BrokerInfo, Pulse};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::Standing;

const FORMAT: u8 = 1;

/// What a registration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Registration {
    pub(crate) gone: bool,
    pub(crate) beat: u64,
    pub(crate) broker_ttl: Duration,
    pub(crate) round_trip: Duration,
    pub(crate) standing: Standing,
    pub(crate) info: BrokerInfo,
}

impl Registration {
    pub(crate) fn of(beat: &Beat) -> Self {
        Self {
            gone: false,
            beat: beat.number,
            broker_ttl: beat.broker_ttl,
            round_trip: beat.round_trip,
            standing: beat.standing.clone(),
            info: beat.info.clone(),
        }
    }

    /// The same broker, declared dead.
    #[must_use]
    pub(crate) fn buried(self) -> Self {
        Self { gone: true, ..self }
    }

    pub(crate) fn pulse(self, broker: Incarnation, version: Version) -> Pulse {
        let Self { gone, beat, broker_ttl, round_trip, standing, info } = self;
        Pulse { broker, version, gone, beat, broker_ttl, round_trip, standing, info }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = vec![FORMAT, u8::from(self.gone)];
        bytes.put_u64(self.beat);
        bytes.put_u64(nanoseconds(self.broker_ttl));
        bytes.put_u64(nanoseconds(self.round_trip));
        let BrokerInfo { name, address, admin_address, program } = &self.info;
        for text in [name, address, admin_address, program, &self.standing.to_string()] {
            // Texts come from a configuration that somebody wrote; none is this long.
            let mut end = text.len().min(usize::from(u16::MAX));
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            bytes.put_u16(u16::try_from(end).unwrap_or(u16::MAX));
            bytes.put_slice(&text.as_bytes()[..end]);
        }
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes.into()
    }

    /// Reads what [`Registration::encode`] wrote; an error says what is wrong with anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if let Some(&format) = bytes.first().filter(|&&format| format != FORMAT) {
            return Err(format!("it has format {format}, which this program does not know"));
        }
        let Some((covered, checksum)) = bytes.split_last_chunk::<4>() else { return Err("it is too short".into()) };
        if crc32c::crc32c(covered) != u32::from_be_bytes(*checksum) {
            return Err("its checksum does not match".into());
        }
        let mut rest = covered.get(1..).unwrap_or_default();
        let read = |rest: &mut &[u8]| {
            let registration = Self {
                gone: rest.try_get_u8().ok()? != 0,
                beat: rest.try_get_u64().ok()?,
                broker_ttl: Duration::from_nanos(rest.try_get_u64().ok()?),
                round_trip: Duration::from_nanos(rest.try_get_u64().ok()?),
                info: BrokerInfo {
                    name: text(rest)?,
                    address: text(rest)?,
                    admin_address: text(rest)?,
                    program: text(rest)?,
                },
                standing: text(rest)?.parse().ok()?,
            };
            rest.is_empty().then_some(registration)
        };
        read(&mut rest).ok_or_else(|| "it makes no sense".into())
    }
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(rest.try_get_u16().ok()?);
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_reads_back_and_damage_is_seen() {
        let registration = Registration {
            gone: false,
            beat: 12,
            broker_ttl: Duration::from_secs(5),
            round_trip: Duration::from_nanos(1_234_567_891),
            standing: Standing { known: vec![Incarnation(7); 3], ..Standing::default() },
            info: BrokerInfo {
                name: "a «ü»".into(),
                address: "h:1".into(),
                admin_address: String::new(),
                program: "0".into(),
            },
        };
        for registration in [registration.clone(), registration.buried(), Registration::default()] {
            let bytes = registration.encode();
            assert_eq!(Registration::decode(&bytes), Ok(registration));
            for place in 0..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[place] ^= 1;
                assert!(Registration::decode(&damaged).is_err(), "byte {place}");
                assert!(Registration::decode(&bytes[..place]).is_err(), "the first {place} bytes");
            }
        }
    }
}
