//! The entries of one shard, by resource.
//!
//! They are looked up several times per request, and the texts of names are long and far apart in memory. So they stand
//! under the hash of their name, which is a number that comes with it. A resource whose hash is taken by another one
//! stands in a second tree, by its name: names that were chosen to collide make nothing slower than a tree of names is.
//!
//! Invariant: no resource stands in both trees. Nothing that is decided depends on the order of hashes.

use std::collections::BTreeMap;

use super::shard::Entry;
use crate::name::ResourceId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_hash: BTreeMap<u32, Box<(ResourceId, Entry)>>,
    by_name: BTreeMap<ResourceId, Box<(ResourceId, Entry)>>,
}

impl Entries {
    pub(super) fn get(&self, id: &ResourceId) -> Option<&Entry> {
        match self.by_hash.get(&id.name.hash32()).map(Box::as_ref) {
            Some((own, entry)) if own == id => Some(entry),
            _ => self.by_name.get(id).map(|own| &own.1),
        }
    }

    pub(super) fn get_mut(&mut self, id: &ResourceId) -> Option<&mut Entry> {
        match self.by_hash.get_mut(&id.name.hash32()).map(Box::as_mut) {
            Some((own, entry)) if own == id => Some(entry),
            _ => self.by_name.get_mut(id).map(|own| &mut own.1),
        }
    }

    /// The entry of a resource, made if there is none.
    pub(super) fn get_or_make(&mut self, id: &ResourceId) -> &mut Entry {
        self.get_or_make_named(id).1
    }

    /// The same, with the copy of the name that stands here: looking for it again need not compare texts.
    pub(super) fn get_or_make_named(&mut self, id: &ResourceId) -> (&ResourceId, &mut Entry) {
        use std::collections::btree_map::Entry::{Occupied, Vacant};

        let hash = id.name.hash32();
        // Whatever came while its hash was taken stays where it is.
        let elsewhere = self.by_name.contains_key(id);
        let place = match self.by_hash.entry(hash) {
            Vacant(place) if !elsewhere => place.insert(Box::new((id.clone(), Entry::presumed_absent()))),
            Occupied(place) if place.get().0 == *id => place.into_mut(),
            _ => self.by_name.entry(id.clone()).or_insert_with(|| Box::new((id.clone(), Entry::presumed_absent()))),
        };
        (&place.0, &mut place.1)
    }

    /// The resources, in order.
    pub(super) fn ids(&self) -> Vec<ResourceId> {
        let mut ids: Vec<ResourceId> = self.ids_of(|_| true).collect();
        ids.sort_unstable();
        ids
    }

    /// The resources of these entries, in no order that means anything.
    pub(super) fn ids_of(&self, wanted: impl Fn(&Entry) -> bool) -> impl Iterator<Item = ResourceId> {
        let all = self.by_hash.values().chain(self.by_name.values());
        all.filter(move |own| wanted(&own.1)).map(|own| own.0.clone())
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.by_hash.retain(|_, own| keep(&own.1));
        self.by_name.retain(|_, own| keep(&own.1));
    }
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
        entries.retain(|entry| entry.streak == 2);
        assert_eq!(streaks(&mut entries), [None, Some(2)]);
        assert_eq!(entries.get_or_make(&names[1]).streak, 2);
        assert_eq!(entries.get_or_make(&names[0]).streak, 0);
    }
}
