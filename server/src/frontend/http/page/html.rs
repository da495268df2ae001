//! HTML that grows. What is markup stands in this program; whatever comes from elsewhere goes in as text.
//!
//! # Invariants
//!
//! * Only literals are markup ([`Html::markup`] takes no other text). All else is escaped, in the one place where that is done.
//! * How much time has passed is no news: two views that differ in nothing else say the same ([`Html::said`]).

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};

/// A piece of HTML.
#[derive(Debug, Default)]
pub(super) struct Html {
    html: String,
    said: DefaultHasher,
}

/// A column of a table: its title, and whether it has numbers.
pub(super) type Column = (&'static str, bool);

impl Html {
    /// Markup: a literal.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.html.push_str(markup);
        self.said.write(markup.as_bytes());
        self
    }

    /// A text, or the value of an attribute between quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.said.write(text.as_bytes());
        // So that two texts do not say the same as two others that are one when they are put together.
        self.said.write_u8(0xff);
        for character in text.chars() {
            match character {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                character if character.is_control() => self.html.push('\u{fffd}'),
                character => self.html.push(character),
            }
        }
        self
    }

    /// A name that somebody else chose: it has its own direction, and what cannot be seen of it is written out.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.markup("<bdi class=\"name\">").text(&shown(name)).markup("</bdi>")
    }

    /// The same, where there may be none.
    pub(super) fn name_or_dash(&mut self, name: &str) -> &mut Self {
        if name.is_empty() { self.markup("<span class=\"none\">–</span>") } else { self.name(name) }
    }

    /// A number in groups of three digits.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.text(&grouped(number))
    }

    /// So many milliseconds have passed; the browser goes on counting.
    pub(super) fn age(&mut self, milliseconds: u64) -> &mut Self {
        self.clock("age", milliseconds)
    }

    /// So many milliseconds are left; the browser goes on counting.
    pub(super) fn left(&mut self, milliseconds: u64) -> &mut Self {
        self.clock("left", milliseconds)
    }

    fn clock(&mut self, which: &str, milliseconds: u64) -> &mut Self {
        self.said.write(which.as_bytes());
        // Writing to a string does not fail.
        let _ = write!(self.html, "<span data-{which}=\"{milliseconds}\">{}</span>", time(milliseconds));
        self
    }

    /// A link; its address was made by [`url`](super::visit::url).
    pub(super) fn link(&mut self, address: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.markup("<a href=\"").text(address).markup("\">");
        inside(self);
        self.markup("</a>")
    }

    /// A word with a colour for how good it is.
    pub(super) fn badge(&mut self, class: &'static str, word: &str) -> &mut Self {
        self.markup("<span class=\"badge ").markup(class).markup("\">").text(word).markup("</span>")
    }

    /// A field of a form that nobody sees.
    pub(super) fn hidden(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.markup("<input type=\"hidden\" name=\"").markup(name).markup("\" value=\"").text(value).markup("\">")
    }

    /// A term of a list, and what is said of it.
    pub(super) fn fact(&mut self, term: &'static str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.markup("<div><dt>").markup(term).markup("</dt><dd>");
        inside(self);
        self.markup("</dd></div>")
    }

    /// A table. Narrow screens show each row as a card, so all parts say what they are.
    pub(super) fn table(
        &mut self,
        caption: &'static str,
        columns: &'static [Column],
        rows: impl FnOnce(&mut Rows<'_>),
    ) {
        self.markup("<table role=\"table\"><caption>")
            .markup(caption)
            .markup("</caption><thead role=\"rowgroup\"><tr role=\"row\">");
        for (title, numeric) in columns {
            self.markup("<th scope=\"col\" role=\"columnheader\"").markup(if *numeric {
                " class=\"number\">"
            } else {
                ">"
            });
            self.markup(title).markup("</th>");
        }
        self.markup("</tr></thead><tbody role=\"rowgroup\">");
        rows(&mut Rows { html: self, columns });
        self.markup("</tbody></table>");
    }

    /// What it says, to compare it with what it said before.
    pub(super) fn said(&self) -> u64 {
        self.said.finish()
    }

    /// One after the other.
    pub(super) fn append(&mut self, other: &Self) -> &mut Self {
        self.html.push_str(&other.html);
        self.said.write_u64(other.said());
        self
    }

    /// All of it.
    pub(super) fn into_string(self) -> String {
        self.html
    }
}

/// The rows of a table.
pub(super) struct Rows<'a> {
    html: &'a mut Html,
    columns: &'static [Column],
}

/// The cells of a row, from the first column on.
pub(super) struct Cells<'a> {
    html: &'a mut Html,
    columns: std::slice::Iter<'static, Column>,
}

impl Rows<'_> {
    /// A row that is the same one in a later view if it has the same key.
    pub(super) fn row(&mut self, key: &str, cells: impl FnOnce(&mut Cells<'_>)) {
        self.html.markup("<tr role=\"row\" data-key=\"").text(key).markup("\">");
        cells(&mut Cells { html: self.html, columns: self.columns.iter() });
        self.html.markup("</tr>");
    }
}

impl Cells<'_> {
    /// The next one.
    pub(super) fn cell(&mut self, inside: impl FnOnce(&mut Html)) -> &mut Self {
        let (title, numeric) = self.columns.next().copied().unwrap_or_default();
        self.html.markup("<td role=\"cell\" data-title=\"").markup(title);
        self.html.markup(if numeric { "\" class=\"number\">" } else { "\">" });
        inside(self.html);
        self.html.markup("</td>");
        self
    }
}

/// A name as people can tell it from others: signs that are not seen, or turn the direction of what follows, are written out, and so
/// are spaces at an end or beside another one.
pub(super) fn shown(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    let (mut before, mut characters) = (' ', name.chars().peekable());
    while let Some(character) = characters.next() {
        let lost = character == ' ' && (before == ' ' || characters.peek().is_none_or(|next| *next == ' '));
        before = character;
        if lost || is_unseen(character) {
            // Writing to a string does not fail.
            let _ = write!(shown, "⟨U+{:04X}⟩", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

fn is_unseen(character: char) -> bool {
    let is_space = character.is_whitespace() && character != ' ' && !character.is_control();
    is_space
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A time for people: at most two units. `assets/page.js` has the same.
pub(super) fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {:02} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_text() {
        let mut html = Html::default();
        html.markup("<b title=\"").text("\"'>").markup("\">").text("<img src=x onerror=\"a&b\">\r\n\0").markup("</b>");
        let wanted =
            "<b title=\"&quot;&#39;&gt;\">&lt;img src=x onerror=&quot;a&amp;b&quot;&gt;\u{fffd}\u{fffd}\u{fffd}</b>";
        assert_eq!(html.into_string(), wanted);
    }

    #[test]
    fn a_name_shows_what_is_not_seen() {
        let mut html = Html::default();
        html.name("a\u{202e}b שלום");
        assert_eq!(html.into_string(), "<bdi class=\"name\">a⟨U+202E⟩b שלום</bdi>");
    }

    #[test]
    fn names_that_differ_in_what_is_not_seen_look_different() {
        for plain in ["", "a b c", "é 語 ⟨x⟩"] {
            assert_eq!(shown(plain), plain);
        }
        assert_eq!(shown(" a b "), "⟨U+0020⟩a b⟨U+0020⟩");
        assert_eq!(shown("a  b"), "a⟨U+0020⟩⟨U+0020⟩b");
        for sign in ['\u{a0}', '\u{115f}', '\u{2003}', '\u{2028}', '\u{3000}', '\u{3164}', '\u{fe0f}', '\u{e0041}'] {
            assert_eq!(shown(&format!("a{sign}b")), format!("a⟨U+{:04X}⟩b", u32::from(sign)));
        }
    }

    #[test]
    fn time_that_passes_is_no_news() {
        let view = |name: &str, age: u64| {
            let mut html = Html::default();
            html.name(name).age(age);
            html.said()
        };
        assert_eq!(view("a", 1_000), view("a", 2_000));
        assert_ne!(view("a", 1_000), view("b", 1_000));
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let times = [0, 59_999, 60_000, 3_600_000, 86_400_000, 400_000_000].map(time);
        assert_eq!(times, ["0 s", "59 s", "1 min 00 s", "1 h 00 min", "1 d 00 h", "4 d 15 h"]);
    }
}
