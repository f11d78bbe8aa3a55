//! One JSON object of a peer, read leniently.
//!
//! Owns: the reading of objects, texts, ids and whole numbers that a peer may have written oddly.
//! Must not know: the names of frames or fields.
//!
//! 1. Nothing but broken JSON syntax makes an object unreadable: not a doubled key, not an unpaired
//!    surrogate (a text cut in the middle of an emoji has one), not a value nested a thousand levels deep.
//! 2. A `null` is the same as an absent key, and of a doubled key the last one counts.
//! 3. Values stay borrowed; a text is copied only if it contains an escape.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Room for the keys of the largest ordinary frame, so that reading one allocates once.
const USUAL_KEYS: usize = 16;

/// Whole numbers up to here are exact in a JSON number with a fraction or exponent.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// A JSON object with unparsed values, in the order they were written.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    entries: Vec<(Cow<'a, [u8]>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads `json`; `None` when it is not one syntactically sound object.
    pub(crate) fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// How many keys there are.
    #[cfg(canary)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of `key`, unless it is absent or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let (_, value) = self.entries.iter().rfind(|(name, _)| **name == *key.as_bytes())?;
        (value.get() != "null").then_some(*value)
    }

    /// The text at `key`: a string as it is, or a number in its decimal form.
    pub(crate) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        let json = self.get(key)?.get();
        match json.as_bytes().first()? {
            // A string without an escape is its own text.
            b'"' if !json.contains('\\') => Some(Cow::Borrowed(&json[1..json.len() - 1])),
            b'"' => serde_json::from_str(json).ok().map(Bytes::into_text),
            b'-' | b'0'..=b'9' => Some(Cow::Borrowed(json)),
            _ => None,
        }
    }

    /// The id or name at `key`: a text that is not empty.
    pub(crate) fn id(&self, key: &str) -> Option<Cow<'a, str>> {
        self.text(key).filter(|id| !id.is_empty())
    }

    /// The number at `key`, if it is whole and not negative: `3`, `3.0`, `3e0` or any of them as a string.
    pub(crate) fn whole(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok();
        }
        // Rust reads more as a number than JSON does.
        let is_json =
            serde_json::from_str::<&RawValue>(&text).is_ok_and(|json| json.get().len() == text.len());
        let number: f64 = text.parse().ok().filter(|_| is_json)?;
        let whole = number as u64;
        ((0.0..=EXACT_FLOAT).contains(&number) && whole as f64 == number).then_some(whole)
    }

    /// The boolean at `key`.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The object at `key`.
    pub(crate) fn object(&self, key: &str) -> Option<Self> {
        Self::parse(self.get(key)?.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(USUAL_KEYS);
                while let Some(Bytes(key)) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Object { entries })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A JSON string as bytes: the one form in which serde_json lets an unpaired surrogate pass (invariant 1).
struct Bytes<'a>(Cow<'a, [u8]>);

impl<'a> Bytes<'a> {
    fn into_text(self) -> Cow<'a, str> {
        match self.0 {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(
                String::from_utf8(bytes)
                    .unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned()),
            ),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsBytes;
        impl<'de> Visitor<'de> for AsBytes {
            type Value = Bytes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Bytes(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Bytes(Cow::Owned(bytes.into())))
            }
        }
        deserializer.deserialize_bytes(AsBytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn object(json: &str) -> Object<'_> {
        Object::parse(json).unwrap()
    }

    #[test]
    fn the_last_of_doubled_keys_counts_and_null_is_absent() {
        let odd = object(r#"{"a":1,"a":"x","b":2,"b":null,"\u0063":3}"#);
        assert_eq!(odd.text("a").unwrap(), "x");
        assert!(odd.get("b").is_none() && odd.get("d").is_none());
        assert_eq!(odd.whole("c"), Some(3));
    }

    #[test]
    fn a_text_is_borrowed_unless_it_has_an_escape_and_survives_an_unpaired_surrogate() {
        let texts = object(r#"{"plain":"héllo","escaped":"a\nb","cut":"smile \ud83d","n":-7.50,"o":{}}"#);
        assert!(matches!(texts.text("plain"), Some(Cow::Borrowed("héllo"))));
        assert_eq!(texts.text("escaped").unwrap(), "a\nb");
        assert!(texts.text("cut").unwrap().starts_with("smile \u{fffd}"));
        assert_eq!(texts.text("n").unwrap(), "-7.50");
        assert_eq!(texts.text("o"), None);
        assert_eq!(object(r#"{"\ud83d":1,"b":2}"#).whole("b"), Some(2));
    }

    #[test]
    fn whole_numbers_are_read_in_every_spelling_and_others_are_not() {
        for (json, expected) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("3.0", Some(3)),
            ("3e2", Some(300)),
            ("\"12\"", Some(12)),
            ("\"12.0\"", Some(12)),
            ("18446744073709551615", Some(u64::MAX)),
            ("1e30", None),
            ("-1", None),
            ("2.5", None),
            ("\"007\"", Some(7)),
            ("\"3.\"", None),
            ("\"1.e3\"", None),
            ("\"+3\"", None),
            ("\" 3.0\"", None),
            ("\"inf\"", None),
            ("\"nan\"", None),
            ("\"x\"", None),
            ("\"\"", None),
            ("true", None),
            ("[1]", None),
        ] {
            let text = format!(r#"{{"n":{json}}}"#);
            assert_eq!(object(&text).whole("n"), expected, "{json}");
        }
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!(r#"{{"a":{}1{},"b":"x"}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(object(&deep).id("b").unwrap(), "x");
    }
}
