//! The entries of one shard, by resource.
//!
//! They are looked up several times per request, and the texts of names are long and far apart in memory. So they are found by
//! the hash of their name, which is a number that comes with it. A resource whose hash is taken by another one is found in a
//! tree, by its name: names that were chosen to collide make nothing slower than a tree of names is. Nor do names help whose
//! hashes were chosen to lie close together, because where a hash leads to depends on a key that nobody outside knows.
//!
//! Invariants: no resource is found in both ways. What is listed is in the order of places, which no hash decides.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::shard::Entry;
use crate::name::ResourceId;

/// All entries are looked over in about so many parts.
const ROUNDS: usize = 10;
/// A part has at least so many places.
const PART_MIN: usize = 10_000;

/// Where an entry stands, until it is forgotten.
type Place = u32;

/// An entry with its name.
type Named = Box<(ResourceId, Entry)>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Entries {
    places: Vec<Option<Named>>,
    vacant: Vec<Place>,
    by_hash: HashTable<(u32, Place)>,
    by_name: BTreeMap<ResourceId, Place>,
    key: u64,
    /// Where the last look ended.
    looked_over: usize,
}

impl Entries {
    /// No entries. The key is a secret.
    pub(super) fn with_key(key: u64) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn get(&self, id: &ResourceId) -> Option<&Entry> {
        self.places[self.place(id)? as usize].as_deref().map(|named| &named.1)
    }

    pub(super) fn get_mut(&mut self, id: &ResourceId) -> Option<&mut Entry> {
        let place = self.place(id)?;
        self.places[place as usize].as_deref_mut().map(|named| &mut named.1)
    }

    /// The entry of a resource, made if there is none.
    pub(super) fn get_or_make(&mut self, id: &ResourceId) -> &mut Entry {
        self.get_or_make_named(id).1
    }

    /// The same, with the copy of the name that stands here: looking for it again need not compare texts.
    pub(super) fn get_or_make_named(&mut self, id: &ResourceId) -> (&ResourceId, &mut Entry) {
        let place = self.place(id).unwrap_or_else(|| self.make_place(id));
        let named = self.places[place as usize].get_or_insert_with(|| Box::new((id.clone(), Entry::presumed_absent())));
        (&named.0, &mut named.1)
    }

    /// The resources, in order.
    pub(super) fn ids(&self) -> Vec<ResourceId> {
        let mut ids: Vec<ResourceId> = self.ids_of(|_| true).collect();
        ids.sort_unstable();
        ids
    }

    /// The resources of these entries, in no order that means anything.
    pub(super) fn ids_of(&self, wanted: impl Fn(&Entry) -> bool) -> impl Iterator<Item = ResourceId> {
        self.places.iter().flatten().filter(move |named| wanted(&named.1)).map(|named| named.0.clone())
    }

    /// Shows a part of the entries, all of them in about [`ROUNDS`] calls, and forgets those that are not to be kept.
    pub(super) fn look_over(&mut self, mut keep: impl FnMut(&ResourceId, &mut Entry) -> bool) {
        let part = (self.places.len() / ROUNDS).max(PART_MIN);
        let from = if self.looked_over < self.places.len() { self.looked_over } else { 0 };
        let to = self.places.len().min(from + part);
        for place in from..to {
            let shown = self.places[place].as_deref_mut();
            if shown.is_some_and(|(id, entry)| !keep(id, entry)) {
                self.forget(place as Place);
            }
        }
        self.looked_over = to;
        if to == self.places.len() {
            self.give_back();
        }
    }

    /// After a time with many more entries than now the room is given back.
    fn give_back(&mut self) {
        let used = self.places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if self.places.capacity() > 4 * used + PART_MIN {
            self.places.truncate(used);
            self.places.shrink_to(2 * used);
            self.vacant.retain(|place| (*place as usize) < used);
            self.vacant.shrink_to_fit();
            let key = self.key;
            self.by_hash.shrink_to(2 * used, |known| spread(key, known.0));
        }
    }

    fn place(&self, id: &ResourceId) -> Option<Place> {
        let hash = id.name.hash32();
        match self.by_hash.find(spread(self.key, hash), |known| known.0 == hash) {
            Some((_, place)) if self.is_at(id, *place) => Some(*place),
            _ => self.by_name.get(id).copied(),
        }
    }

    fn is_at(&self, id: &ResourceId, place: Place) -> bool {
        self.places[place as usize].as_ref().is_some_and(|named| named.0 == *id)
    }

    /// A place for a new entry. Whatever came while its hash was taken stays where it is.
    fn make_place(&mut self, id: &ResourceId) -> Place {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as Place
        });
        let (key, hash) = (self.key, id.name.hash32());
        let spread = |known: &(u32, Place)| spread(key, known.0);
        let entry = self.by_hash.entry(spread(&(hash, place)), |known| known.0 == hash, spread);
        match entry {
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert((hash, place));
            }
            hashbrown::hash_table::Entry::Occupied(_) => {
                self.by_name.insert(id.clone(), place);
            }
        }
        place
    }

    fn forget(&mut self, place: Place) {
        let Some(named) = self.places[place as usize].take() else { return };
        self.vacant.push(place);
        let hash = named.0.name.hash32();
        match self.by_hash.find_entry(spread(self.key, hash), |known| *known == (hash, place)) {
            Ok(found) => {
                found.remove();
            }
            Err(_) => {
                self.by_name.remove(&named.0);
            }
        }
    }
}

/// Where a hash leads to. Multiplied to twice its length and folded, every bit depends on every bit of the key.
fn spread(key: u64, hash: u32) -> u64 {
    let product = u128::from(u64::from(hash) ^ key) * 0x9e37_79b9_7f4a_7c15_u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Lockspace, ResourceName};

    fn resource(name: &str) -> ResourceId {
        ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(name).unwrap() }
    }

    #[test]
    fn names_with_the_same_hash_have_entries_of_their_own() {
        // Both have the same CRC-32C.
        let names = [resource("wcjifoae"), resource("ccaoacux")];
        assert_eq!(names[0].name.hash32(), names[1].name.hash32());
        let mut entries = Entries::default();
        for (streak, id) in (1..).zip(&names) {
            entries.get_or_make(id).streak = streak;
        }
        let streaks = |entries: &mut Entries| names.clone().map(|id| entries.get_mut(&id).map(|entry| entry.streak));
        assert_eq!(streaks(&mut entries), [Some(1), Some(2)]);
        assert_eq!(entries.ids(), [names[1].clone(), names[0].clone()]);
        entries.look_over(|_, entry| entry.streak == 2);
        assert_eq!(streaks(&mut entries), [None, Some(2)]);
        assert_eq!(entries.get_or_make(&names[1]).streak, 2);
        assert_eq!(entries.get_or_make(&names[0]).streak, 0);
    }
}
