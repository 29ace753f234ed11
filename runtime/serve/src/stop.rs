//! Stop strings in text that arrives in pieces.

/// Finds the first stop string in a stream of text.
///
/// Text that may be the beginning of a stop string is held back until more text decides.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What may be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Text that is certain.
    pub(crate) text: String,
    /// True if a stop string followed; nothing after it is shown.
    pub(crate) stopped: bool,
}

impl StopMatcher {
    /// Looks for `stops`; empty ones are ignored.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|s| !s.is_empty()).collect(),
            held: String::new(),
        }
    }

    /// Adds text. The text before the earliest stop string, or what cannot belong to one.
    pub(crate) fn push(&mut self, piece: &str) -> Shown {
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|s| self.held.find(s)).min();
        if let Some(at) = first {
            let text = self.held[..at].to_owned();
            self.held.clear();
            return Shown {
                text,
                stopped: true,
            };
        }
        let keep = self.ambiguous();
        let rest = self.held.split_off(self.held.len() - keep);
        Shown {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// No more text will come: what was held back.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text that begin some stop string.
    fn ambiguous(&self) -> usize {
        let begins = |stop: &String| {
            let most = (stop.len() - 1).min(self.held.len());
            (1..=most)
                .rev()
                .find(|&n| stop.is_char_boundary(n) && self.held.ends_with(&stop[..n]))
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows `pieces` one by one; the text, and after which piece it stopped.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<usize>) {
        let mut matcher = StopMatcher::new(stops.iter().map(ToString::to_string));
        let mut out = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let shown = matcher.push(piece);
            out.push(shown.text);
            if shown.stopped {
                return (out, Some(i));
            }
        }
        out.push(matcher.finish());
        (out, None)
    }

    #[test]
    fn a_stop_over_several_pieces_is_never_shown() {
        let (text, stopped) = run(&["\n\nUser"], &["Yes.", "\n", "\nUs", "er: more"]);
        assert_eq!(text, ["Yes.", "", "", ""]);
        assert_eq!(stopped, Some(3));
    }

    #[test]
    fn held_text_comes_out_when_it_turns_out_to_be_harmless() {
        let (text, stopped) = run(&["###"], &["a#", "#", "b##", "c"]);
        assert_eq!(text, ["a", "", "##b", "##c", ""]);
        assert_eq!(stopped, None);
        assert_eq!(run(&["###"], &["a##"]).0, ["a", "##"]);
    }

    #[test]
    fn the_earliest_of_several_stops_wins() {
        let (text, stopped) = run(&["world", "lo w"], &["hello world"]);
        assert_eq!((text.join(""), stopped), ("hel".to_owned(), Some(0)));
        // One stop begins inside another's beginning.
        let (text, stopped) = run(&["aab", "ac"], &["xaa", "c"]);
        assert_eq!((text.join(""), stopped), ("xa".to_owned(), Some(1)));
    }

    #[test]
    fn a_stop_of_wide_characters_is_cut_between_characters() {
        let (text, stopped) = run(&["日本"], &["日", "日", "本!"]);
        assert_eq!((text.join(""), stopped), ("日".to_owned(), Some(2)));
        let (text, _) = run(&["é"], &["è", "e"]);
        assert_eq!(text.join(""), "èe");
    }

    #[test]
    fn splitting_changes_nothing() {
        let text = "abcabcabdabcabcabe";
        for stop in ["abcabe", "abd", "zzz", "abcabcabe", "e"] {
            let whole = run(&[stop], &[text]).0.concat();
            for cut in 1..text.len() {
                let (parts, _) = run(&[stop], &[&text[..cut], &text[cut..]]);
                assert_eq!(parts.concat(), whole, "{stop} cut at {cut}");
            }
        }
    }
}
