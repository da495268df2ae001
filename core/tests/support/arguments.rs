//! The arguments of one line of a transcript.

use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;
use sixpin_core::command::{ConversionDeadlock, Options};
use sixpin_core::mode::Mode;
use sixpin_core::name::Label;

pub type Failure = Box<dyn Error>;

/// The arguments of one command, taken one by one.
pub struct Arguments {
    words: Vec<String>,
    keys: BTreeMap<String, String>,
}

impl Arguments {
    pub fn new(command: &goldenscript::Command) -> Self {
        let mut arguments = command.consume_args();
        let mut keys = BTreeMap::new();
        while let Some((key, value)) = arguments.next_key() {
            keys.insert(key.to_owned(), value.to_owned());
        }
        let mut words = Vec::new();
        while let Some(word) = arguments.next_pos() {
            words.push(word.to_owned());
        }
        Self { words, keys }
    }

    /// The next word, whatever it is.
    pub fn next(&mut self) -> Result<String, Failure> {
        if self.words.is_empty() { Err("a word is missing".into()) } else { Ok(self.words.remove(0)) }
    }

    pub fn name(&mut self) -> Result<String, Failure> {
        let first = self.words.first().ok_or("a name is missing")?;
        if first.chars().next().is_some_and(char::is_uppercase) {
            Ok(self.words.remove(0))
        } else {
            Err(format!("{first} is not a name").into())
        }
    }

    pub fn mode(&mut self) -> Result<Mode, Failure> {
        let word = self.words.first().ok_or("a mode is missing")?.clone();
        self.words.remove(0);
        Ok(word.parse()?)
    }

    pub fn word(&mut self, word: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|other| other != word);
        self.words.len() < before
    }

    pub fn text(&mut self, key: &str) -> Option<String> {
        self.keys.remove(key)
    }

    pub fn number(&mut self, key: &str) -> Result<Option<u64>, Failure> {
        Ok(self.text(key).map(|text| text.parse()).transpose()?)
    }

    pub fn label(&mut self, key: &str) -> Result<Option<Label>, Failure> {
        Ok(self.text(key).map(|text| Label::new(&text)).transpose()?)
    }

    pub fn deadlock(&mut self) -> Result<Option<ConversionDeadlock>, Failure> {
        Ok(match self.text("deadlock").as_deref() {
            None => None,
            Some("error") => Some(ConversionDeadlock::Error),
            Some("demote") => Some(ConversionDeadlock::Demote),
            Some("wait") => Some(ConversionDeadlock::Wait),
            Some(other) => return Err(format!("no deadlock behaviour {other}").into()),
        })
    }

    pub fn options(&mut self) -> (Options, Option<Bytes>) {
        let mut options = Options::empty();
        for (word, option) in [
            ("try", Options::TRY),
            ("notify", Options::NOTIFY_ON_REFUSAL),
            ("queue", Options::QUEUE_CONVERSION),
            ("expedite", Options::EXPEDITE),
            ("head", Options::HEAD_OF_QUEUE),
            ("noorder", Options::NO_ORDER),
            ("altpr", Options::ALTERNATE_PR),
            ("altcw", Options::ALTERNATE_CW),
            ("value", Options::VALUE_BLOCK),
            ("invalidate", Options::INVALIDATE_VALUE),
            ("persistent", Options::PERSISTENT),
        ] {
            options.set(option, self.word(word));
        }
        let value = self.text("value").map(Bytes::from);
        options.set(Options::VALUE_BLOCK, value.is_some() || options.contains(Options::VALUE_BLOCK));
        (options, value)
    }

    /// A word that nobody took is a mistake in the transcript.
    pub fn finish(self) -> Result<(), Failure> {
        let left: Vec<String> = self.words.into_iter().chain(self.keys.into_keys()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("not understood: {}", left.join(" ")).into()) }
    }
}
