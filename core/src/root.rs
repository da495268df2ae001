//! The root record as bytes, for stores that keep it in one piece.
//!
//! All numbers big-endian: the format (one byte), the base and the identity (eight each), the secret key (32), and the
//! CRC-32C of everything before. The base is what is added to the store's own numbers to make versions.

use crate::backend::Root;

const FORMAT: u8 = 1;
const LENGTH: usize = 1 + 8 + 8 + 32 + 4;

/// As bytes.
pub fn encode(root: &Root, base: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.push(FORMAT);
    bytes.extend(base.to_be_bytes());
    bytes.extend(root.identity.to_be_bytes());
    bytes.extend(root.secret_key);
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

/// Reads what [`encode`] wrote: the root and the base. An error says what is wrong with anything else.
pub fn decode(bytes: &[u8]) -> Result<(Root, u64), String> {
    if let Some(&format) = bytes.first().filter(|&&format| format != FORMAT) {
        return Err(format!("it has format {format}, which this program does not know"));
    }
    let Some((covered, checksum)) = bytes.split_last_chunk::<4>().filter(|_| bytes.len() == LENGTH) else {
        return Err(format!("it has {} bytes instead of {LENGTH}", bytes.len()));
    };
    if crc32c::crc32c(covered) != u32::from_be_bytes(*checksum) {
        return Err("its checksum does not match".into());
    }
    let number = |start: usize| covered[start..start + 8].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let mut secret_key = [0; 32];
    secret_key.copy_from_slice(&covered[17..49]);
    Ok((Root { secret_key, identity: number(9) }, number(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_comes_back_and_damage_is_seen() {
        let root = Root { secret_key: std::array::from_fn(|at| at as u8), identity: u64::MAX - 1 };
        let bytes = encode(&root, 42);
        assert_eq!(decode(&bytes), Ok((root, 42)));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {place}");
        }
        assert!(decode(&[]).is_err());
        assert!(decode(&bytes[1..]).is_err());
    }
}
