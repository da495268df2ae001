//! Where a request stands in a trace: the `traceparent` of W3C Trace Context.

use std::fmt;

/// How a `traceparent` begins in the version that is known. Longer ones of later versions begin with these 55 bytes as well.
const LENGTH: usize = 55;
/// The flag by which whoever began the trace says that it is kept.
const SAMPLED: u8 = 1;

/// A span of a trace, in whatever process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace. Not zero.
    pub trace: u128,
    /// The span in it. Not zero.
    pub span: u64,
    /// The trace is kept.
    pub sampled: bool,
}

impl Context {
    /// What a `traceparent` says. Of one that makes no sense nothing is taken, as the standard wants it: then a trace begins.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let known = text.get(..LENGTH)?;
        let rest = &text[LENGTH..];
        let mut parts = known.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = number(version, 2)? as u8;
        // Version 0 has no more than this, and 255 is none.
        let fits = if version == 0 {
            rest.is_empty()
        } else {
            version != u8::MAX && (rest.is_empty() || rest.starts_with('-'))
        };
        let (trace, span) = (number(trace, 32)?, number(span, 16)? as u64);
        let sampled = number(flags, 2)? as u8 & SAMPLED != 0;
        (fits && parts.next().is_none() && trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }
}

/// A number in so many lowercase hexadecimal digits.
fn number(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(text, 16).ok().filter(|_| fits)
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_the_same() {
        let context = Context::parse(GOOD).unwrap();
        assert_eq!((context.trace, context.span), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7));
        assert!(context.sampled);
        assert_eq!(context.to_string(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!Context::parse(&unsampled).unwrap().sampled);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in [GOOD.replacen("00", "01", 1), GOOD.replacen("00", "cc", 1) + "-what-comes"] {
            assert_eq!(Context::parse(&later), Context::parse(GOOD), "{later}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_nothing() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let long = GOOD.to_owned() + "-00";
        let joined = GOOD.replacen("00", "01", 1) + "00";
        let upper = GOOD.replace('b', "B");
        let version = GOOD.replacen("00", "ff", 1);
        let signed = GOOD.replace("-00f", "-+0f");
        let wide = "00-4bf92f3577b34da6a3ce929d0e0e47é6-00f067aa0ba902b7-01".to_owned();
        let dashes = "-".repeat(55);
        for text in
            [&zero_trace, &zero_span, &long, &joined, &upper, &version, &signed, &wide, &dashes, "", "00", &GOOD[1..]]
        {
            assert_eq!(Context::parse(text), None, "{text}");
        }
    }
}
