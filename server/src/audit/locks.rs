//! Grants, releases and losses of locks. The machine tells of them, so that a line is written also where no client hears of it.

use sixpin_core::broker::api::{Happened, Note};

use super::{Audit, Line};

/// Who has a claim whose broker died: sessions cost the store nothing, so it does not say whose they are.
const UNKNOWN: &str = "unknown";

impl Audit {
    /// Writes what became of a lock. Where the broker is inside a program, all sessions are those of the `program`.
    pub(crate) fn note(&self, note: Note, program: Option<&str>) {
        self.write_lock(|| line(note, program));
    }
}

fn line(note: Note, program: Option<&str>) -> Line {
    let Note { happened, claim, resource, whose, mode, fence } = note;
    let (principal, address) = match whose {
        Some(whose) => (program.map_or(whose.principal, str::to_owned), whose.address.as_str().parse().ok()),
        None => (UNKNOWN.to_owned(), None),
    };
    let verb = match happened {
        Happened::Granted => "granted",
        Happened::Released => "released",
        Happened::Lost => "lost",
        Happened::Orphaned => "orphaned",
    };
    let line = Line::new(principal, address, verb).on(&resource).session(claim.session);
    line.claim(Some(claim.number), fence).mode(mode)
}
