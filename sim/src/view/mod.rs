//! Pictures: a story as one HTML page.
//!
//! Owns: the page, and the form in which it gets its moments. Must not know: where a story comes from.
//!
//! 1. A page is one file: it loads nothing, and what stands in it cannot leave its data block.
//! 2. A page stays usable however long the story is: beyond [`MOMENTS`] only the end is shown, and
//!    the page says so.

use crate::oracles::Failure;
use crate::story::{Kind, Lane, Moment};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Moments of one page: five times what it is made for, and a browser still opens it.
pub const MOMENTS: usize = 50_000;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A picture to be.
#[derive(Debug, Default)]
pub struct View {
    title: String,
    reproduction: String,
    end: String,
    moments: VecDeque<Moment>,
    dropped: u64,
}

impl View {
    /// A picture with this title, of what this command shows again.
    pub fn new(title: &str, reproduction: &str) -> Self {
        Self { title: title.into(), reproduction: reproduction.into(), ..Self::default() }
    }

    /// Adds what happened next.
    pub fn add(&mut self, moment: Moment) {
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
            self.dropped += 1;
        }
        self.moments.push_back(moment);
    }

    /// Says how it ended, where no rule was broken.
    pub fn passed(&mut self, end: &str) {
        self.end = end.into();
    }

    /// Says which rule was broken, unless the story has told it, and the page still has it: a panic ends a story
    /// without a word.
    pub fn failed(&mut self, failure: &Failure) {
        let at = self.moments.back().map_or(0, |last| last.at);
        let verdict = Moment::verdict(at, failure);
        let tells = |moment: &Moment| moment.kind == Kind::Verdict && moment.text == verdict.text;
        if !self.moments.iter().any(tells) {
            self.add(verdict);
        }
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// The page.
    pub fn page(&self) -> String {
        let title = self.title.replace('&', "&amp;").replace('<', "&lt;");
        // Inside of JSON a `<` stands only in texts, where it may be written as an escape.
        let data = self.data().to_string().replace('<', "\\u003c");
        // The data come last: no text in them is taken for a place to be filled.
        PAGE.replace("{{title}}", &title)
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT)
            .replacen("{{data}}", &data, 1)
    }

    fn data(&self) -> Value {
        let lanes = self.lanes();
        let place = |lane: &Lane| lanes.iter().position(|other| other == lane);
        let kind = |kind: Kind| Kind::ALL.iter().position(|other| *other == kind);
        let moments: Vec<Value> = self
            .moments
            .iter()
            .map(|moment| {
                json!([
                    moment.at,
                    place(&moment.from),
                    place(&moment.to),
                    kind(moment.kind),
                    moment.link,
                    moment.agent,
                    moment.text,
                    moment.detail,
                ])
            })
            .collect();
        json!({
            "title": self.title,
            "reproduction": self.reproduction,
            "end": self.end,
            "dropped": self.dropped,
            "lanes": lanes.iter().map(Lane::name).collect::<Vec<_>>(),
            "core": place(&Lane::Core),
            "kinds": Kind::ALL.map(Kind::name),
            "moments": moments,
        })
    }

    /// The lanes from left to right: always the same ones, with the agents that occur between them.
    fn lanes(&self) -> Vec<Lane> {
        let mut agents: Vec<Lane> = self
            .moments
            .iter()
            .flat_map(|moment| [&moment.from, &moment.to])
            .filter(|lane| matches!(lane, Lane::Agent(_)))
            .cloned()
            .collect();
        agents.sort();
        agents.dedup();
        let left = [Lane::Fault, Lane::Engine, Lane::Link, Lane::Core];
        let right = [Lane::Store, Lane::Api, Lane::Oracle];
        left.into_iter().chain(agents).chain(right).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::Class;
    use crate::story::{Fact, Narrator};

    fn said(words: &str) -> Moment {
        Narrator::new().tell(7, &Fact::Said("FAULT", format_args!("{words}"))).unwrap()
    }

    #[test]
    fn a_text_cannot_leave_the_data_block_or_fill_the_template() {
        let mut view = View::new("</title><script>1</script>", "");
        view.add(said("</script><script>alert(1)</script> <!-- {{data}} {{script}}"));
        let page = view.page();
        assert!(!page.contains("alert(1)</script>") && !page.contains("</title><script>"));
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("{{data}} {{script}}"), "texts are left alone");
    }

    #[test]
    fn a_page_loads_nothing() {
        let page = View::new("empty", "").page();
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_long_story_keeps_its_end() {
        let mut view = View::new("long", "");
        for _ in 0..MOMENTS + 5 {
            view.add(said("again"));
        }
        view.failed(&Failure { class: Class::Panic, rule: "panic", message: "boom".into() });
        assert_eq!((view.moments.len(), view.dropped), (MOMENTS, 6));
        assert_eq!(view.moments.back().unwrap().kind, Kind::Verdict);
    }
}
