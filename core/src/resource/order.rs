//! The order of one queue.
//!
//! Claims join at either end and leave from anywhere. A place is a label that rises along the queue; what it counts has
//! no meaning. The number of claims ahead of a place is found through counters of blocks of places, so that it does not
//! take a walk along the queue.

use std::collections::BTreeMap;

use crate::small::Map;

use super::claim::Slot;

/// Where a claim stands in its queue: smaller is nearer to the head.
pub(crate) type Place = i64;

/// Places per small block, and small blocks per large block, as powers of two.
const BLOCK_BITS: u32 = 6;

/// A queue of slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    slots: Map<Place, Slot>,
    /// The place that the next claim gets at the tail, and the last one that was given at the head.
    back: Place,
    front: Place,
    /// Claims per small block of places, and per large one; kept if the line is counted.
    small: BTreeMap<Place, u32>,
    large: BTreeMap<Place, u32>,
    counted: bool,
}

impl Line {
    /// A line that can tell how many are ahead of a place.
    pub(crate) fn counted() -> Self {
        Self { counted: true, ..Self::default() }
    }

    /// Fills an empty line with consecutive slots; the places count from zero.
    pub(crate) fn fill(&mut self, first: Slot, count: u32) {
        self.slots = (0..count).map(|index| (Place::from(index), first + index)).collect();
        self.back = Place::from(count);
        if self.counted {
            self.small = blocks(count, BLOCK_BITS).collect();
            self.large = blocks(count, 2 * BLOCK_BITS).collect();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn first(&self) -> Option<(Place, Slot)> {
        self.slots.first_key_value().map(|(place, slot)| (*place, *slot))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.values().copied()
    }

    pub(crate) fn push_back(&mut self, slot: Slot) -> Place {
        let place = self.back;
        self.back += 1;
        self.insert(place, slot);
        place
    }

    pub(crate) fn push_front(&mut self, slot: Slot) -> Place {
        self.front -= 1;
        self.insert(self.front, slot);
        self.front
    }

    fn insert(&mut self, place: Place, slot: Slot) {
        self.slots.insert(place, slot);
        if self.counted {
            *self.small.entry(place >> BLOCK_BITS).or_default() += 1;
            *self.large.entry(place >> (2 * BLOCK_BITS)).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, place: Place) {
        if self.slots.remove(&place).is_some() && self.counted {
            decrement(&mut self.small, place >> BLOCK_BITS);
            decrement(&mut self.large, place >> (2 * BLOCK_BITS));
        }
    }

    /// How many claims stand before this place. Only for counted lines.
    pub(crate) fn ahead_of(&self, place: Place) -> usize {
        debug_assert!(self.counted);
        let (small, large) = (place >> BLOCK_BITS, place >> (2 * BLOCK_BITS));
        let in_large: u32 = self.large.range(..large).map(|(_, count)| *count).sum();
        let in_small: u32 = self.small.range(large << BLOCK_BITS..small).map(|(_, count)| *count).sum();
        let single = self.slots.range(small << BLOCK_BITS..place).count();
        in_large as usize + in_small as usize + single
    }
}

/// The counters of `count` claims whose places count from zero.
fn blocks(count: u32, bits: u32) -> impl Iterator<Item = (Place, u32)> {
    let size = 1 << bits;
    (0..count.div_ceil(size)).map(move |block| (Place::from(block), size.min(count - block * size)))
}

/// Takes one off a counter and drops it at zero.
fn decrement(counters: &mut BTreeMap<Place, u32>, block: Place) {
    if let Some(count) = counters.get_mut(&block) {
        *count -= 1;
        if *count == 0 {
            counters.remove(&block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_ahead_is_that_of_a_walk_along_the_queue() {
        let mut line = Line::counted();
        let mut places = Vec::new();
        for slot in 0..10_000 {
            places.push(if slot % 7 == 0 { line.push_front(slot) } else { line.push_back(slot) });
        }
        for (index, place) in places.iter().enumerate() {
            if index % 3 == 0 {
                line.remove(*place);
            }
        }
        let live: Vec<Place> = line.slots.keys().copied().collect();
        for (ahead, place) in live.iter().enumerate() {
            assert_eq!(line.ahead_of(*place), ahead);
        }
        for place in live {
            line.remove(place);
        }
        assert!(line.is_empty() && line.small.is_empty() && line.large.is_empty());
    }

    #[test]
    fn a_line_that_is_filled_is_one_that_was_queued() {
        for count in [0, 1, 63, 64, 65, 4096, 5000] {
            let mut queued = Line::counted();
            for slot in 0..count {
                queued.push_back(slot);
            }
            let mut filled = Line::counted();
            filled.fill(0, count);
            assert_eq!(format!("{filled:?}"), format!("{queued:?}"));
        }
    }
}
