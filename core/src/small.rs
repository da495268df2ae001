//! Ordered maps and sets that are a sorted vector while they are small.
//!
//! Most resources have one claim, and most sessions one lock. A tree takes eleven places for its first entry; a vector of one
//! takes one, and a look through a few neighbours is quicker than one through a tree.
//!
//! Invariants: the entries of a vector are in order and at most [`FEW`]; whatever is asked, the answer is that of a
//! [`BTreeMap`] with the same entries.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::ops::{Bound, RangeBounds};

/// A vector has this many entries at most.
const FEW: usize = 8;

/// A map.
#[derive(Clone)]
pub(crate) enum Map<K, V> {
    /// In order.
    Few(Vec<(K, V)>),
    /// Until it is empty again.
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord, V> Map<K, V> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(few) => place(few, key).ok().map(|at| &few[at].1),
            Self::Many(many) => many.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::Few(few) => place(few, key).ok().map(|at| &mut few[at].1),
            Self::Many(many) => many.get_mut(key),
        }
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts it in. True if the key is new.
    pub(crate) fn insert(&mut self, key: K, value: V) -> bool {
        if let Some(known) = self.get_mut(&key) {
            *known = value;
            return false;
        }
        self.get_or_insert_with(key, || value);
        true
    }

    /// What is there, put there if nothing is.
    pub(crate) fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        if let Self::Few(few) = self
            && few.len() >= FEW
            && place(few, &key).is_err()
        {
            *self = Self::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Self::Few(few) => {
                let at = place(few, &key).unwrap_or_else(|at| {
                    if few.capacity() == 0 {
                        // A vector would begin with room for four.
                        few.reserve_exact(1);
                    }
                    few.insert(at, (key, value()));
                    at
                });
                &mut few[at].1
            }
            Self::Many(many) => many.entry(key).or_insert_with(value),
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Few(few) => place(few, key).ok().map(|at| few.remove(at).1),
            Self::Many(many) => {
                let old = many.remove(key);
                if many.is_empty() {
                    *self = Self::default();
                }
                old
            }
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        self.range(..)
    }

    /// Shows each to be changed.
    pub(crate) fn for_each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        match self {
            Self::Few(few) => few.iter_mut().for_each(|(key, value)| change(key, value)),
            Self::Many(many) => many.iter_mut().for_each(|(key, value)| change(key, value)),
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> Iter<'_, K, V> {
        match self {
            Self::Few(few) => {
                let from = match range.start_bound() {
                    Bound::Unbounded => 0,
                    Bound::Included(key) => few.partition_point(|(own, _)| own < key),
                    Bound::Excluded(key) => few.partition_point(|(own, _)| own <= key),
                };
                let to = match range.end_bound() {
                    Bound::Unbounded => few.len(),
                    Bound::Included(key) => few.partition_point(|(own, _)| own <= key),
                    Bound::Excluded(key) => few.partition_point(|(own, _)| own < key),
                };
                Iter::Few(few[from..to].iter())
            }
            Self::Many(many) => Iter::Many(many.range(range)),
        }
    }
}

/// Where a key stands, or where it would.
fn place<K: Ord, V>(few: &[(K, V)], key: &K) -> Result<usize, usize> {
    for (at, (own, _)) in few.iter().enumerate() {
        match own.cmp(key) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(at),
            Ordering::Greater => return Err(at),
        }
    }
    Err(few.len())
}

/// Entries in order.
pub(crate) enum Iter<'a, K, V> {
    Few(std::slice::Iter<'a, (K, V)>),
    Many(btree_map::Range<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next(),
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        // A tree of many sorted entries is made at once.
        if entries.size_hint().0 > FEW {
            return Self::Many(entries.collect());
        }
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A set.
#[derive(Clone)]
pub(crate) struct Set<K>(Map<K, ()>);

impl<K> Default for Set<K> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<K: Ord> Set<K> {
    /// True if it was not there.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        self.0.insert(key, ())
    }

    /// True if it was there.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = &K> {
        self.0.range(range).map(|(key, ())| key)
    }
}

impl<K: Ord> Extend<K> for Set<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        for key in keys {
            self.insert(key);
        }
    }
}

impl<K: Ord + fmt::Debug> fmt::Debug for Set<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_answers_as_a_tree_does() {
        // Checksums of numbers are as good as random here.
        let mut drawn = 0_u32;
        let mut draw = |below: u32| {
            drawn += 1;
            crc32c::crc32c(&drawn.to_le_bytes()) % below
        };
        for keys in [3, 12, 40] {
            let (mut map, mut tree) = (Map::default(), BTreeMap::new());
            for step in 0..2_000 {
                let key = draw(keys);
                if draw(5) < 3 {
                    assert_eq!(map.insert(key, step), tree.insert(key, step).is_none());
                } else {
                    assert_eq!(map.remove(&key), tree.remove(&key));
                }
                let (from, to) = (draw(keys), draw(keys));
                let (from, to) = (from.min(to), from.max(to));
                assert!(map.iter().eq(tree.iter()));
                assert!(map.range(from..to).eq(tree.range(from..to)));
                assert!(map.range(from..=to).eq(tree.range(from..=to)));
                assert_eq!(map.get(&key), tree.get(&key));
                assert_eq!(map.get_mut(&from), tree.get_mut(&from));
                map.for_each_mut(|_, value| *value += 1);
                for value in tree.values_mut() {
                    *value += 1;
                }
                assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
                assert_eq!(map.first_key_value(), tree.first_key_value());
            }
            assert!(tree.into_iter().collect::<Map<_, _>>().iter().eq(map.iter()));
        }
    }
}
