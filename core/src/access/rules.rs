//! The rules of a role, found by what they are about.
//!
//! A lock asks for one of them each time. Looking through all of them costs as much as they are; a name can fall under few texts
//! only: the empty one, each of its beginnings that ends at a boundary, and itself. So each of these is looked up. Where that is
//! more than there are rules, these are looked through.

use hashbrown::HashTable;

use super::{Names, Place, Rule, Verb};

/// So many rules are looked through before the first look-up has ended.
const FEW: usize = 8;

/// The rules of a role, in the order in which they were given.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Rule>,
    /// By what they are about: a prefix or a name, and their places.
    about: HashTable<(Box<str>, Vec<usize>)>,
}

// What they are about follows from them.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Rules {}

impl Rules {
    /// These.
    pub fn new(all: Vec<Rule>) -> Self {
        let mut about: HashTable<(Box<str>, Vec<usize>)> = HashTable::new();
        for (place, rule) in all.iter().enumerate() {
            let text = match &rule.names {
                Names::Exactly(name) => name.as_str(),
                Names::Under(prefix) => prefix,
            };
            let entry = about.entry(hash(text), |(known, _)| &**known == text, |(known, _)| hash(known));
            entry.or_insert_with(|| (text.into(), Vec::new())).get_mut().1.push(place);
        }
        Self { all, about }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// The first that allows this there.
    pub(super) fn find(&self, verb: Verb, place: Place<'_>) -> Option<&Rule> {
        let allows = |rule: &Rule| rule.allow.has(verb) && rule.covers(place);
        // What is about a whole is about every name in it.
        let name = if let Place::Resource(id) = place { id.name.as_str() } else { "" };
        let boundaries = name.bytes().filter(|byte| *byte == b'/').count();
        if self.all.len() <= FEW + boundaries {
            return self.all.iter().find(|rule| allows(rule));
        }
        let beginnings = name.match_indices('/').map(|(at, _)| &name[..=at]);
        let texts = std::iter::once("").chain(beginnings).chain(std::iter::once(name));
        let found = texts.filter_map(|text| self.about.find(hash(text), |(known, _)| &**known == text));
        let places = found.flat_map(|(_, places)| places).copied();
        places.filter(|place| allows(&self.all[*place])).min().map(|place| &self.all[place])
    }
}

/// Names that clients choose are only looked for, so that none of them can make a look-up longer.
fn hash(text: &str) -> u64 {
    // Spread over the upper bits too, by which places in the table are told apart.
    u64::from(crc32c::crc32c(text.as_bytes())).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Verbs;
    use crate::mode::Mode;
    use crate::name::{Lockspace, ResourceId, ResourceName};

    #[test]
    fn what_is_looked_up_is_what_is_found_by_looking_through_all() {
        let texts = ["a", "a/", "a/b", "a/b/", "ab", "ab/", "b/", "b/a/", "c"];
        let lockspaces = [None, Some(Lockspace::default()), Some(Lockspace::new("other").unwrap())];
        let mut all = Vec::new();
        for (number, text) in texts.iter().chain(&[""]).cycle().take(60).enumerate() {
            let exactly = number % 3 == 0 && !text.is_empty();
            let names = if exactly || !(text.is_empty() || text.ends_with('/')) {
                Names::Exactly(ResourceName::new(text).unwrap())
            } else {
                Names::under(*text).unwrap()
            };
            let allow: Verbs = ["lock:ex", "inspect", "lock", "force"][number % 4].parse().unwrap();
            let lockspace = lockspaces[number % 5 % 3].clone();
            all.push(Rule { role: "r".into(), number, lockspace, names, allow });
        }
        for skipped in 0..50 {
            let rules = Rules::new(all[skipped..].to_vec());
            let ids = lockspaces.iter().flatten().flat_map(|lockspace| {
                let name =
                    |text: &&str| ResourceId { lockspace: lockspace.clone(), name: ResourceName::new(text).unwrap() };
                texts.iter().chain(&["a/b/c", "a//", "zz", "b/a/a/a"]).map(name).collect::<Vec<_>>()
            });
            let ids: Vec<ResourceId> = ids.collect();
            let mut places: Vec<Place<'_>> = ids.iter().map(Place::Resource).collect();
            places.extend(lockspaces.iter().flatten().map(Place::Lockspace));
            places.push(Place::Everywhere);
            for place in places {
                for verb in [Verb::Lock(Mode::EX), Verb::Lock(Mode::PR), Verb::Inspect, Verb::Force, Verb::Drain] {
                    let scanned = rules.iter().find(|rule| rule.allow.has(verb) && rule.covers(place));
                    assert_eq!(rules.find(verb, place), scanned, "{verb} on {place} without {skipped}");
                }
            }
        }
    }
}
