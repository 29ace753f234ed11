//! A reader of Tcl's words, to check scripts without the program that runs them. It knows Tcl's rules for
//! braces, quotes, brackets and backslashes, and nothing of commands.

/// A command: its words as they are written, without their outer braces or quotes.
pub type Command = Vec<String>;

/// The commands of a script; those inside of brackets and braces stay part of their word.
///
/// # Errors
/// The line of what does not end, or of what follows a brace or quote that ends.
pub fn commands(script: &str) -> Result<Vec<Command>, String> {
    let text = script.replace("\\\n", " ");
    let mut reader = Reader {
        rest: text.chars().collect(),
        at: 0,
    };
    let mut all = Vec::new();
    while let Some(command) = reader.command()? {
        if !command.is_empty() {
            all.push(command);
        }
    }
    Ok(all)
}

/// The words of a list or a body.
///
/// # Errors
/// As [`commands`].
pub fn words(list: &str) -> Result<Vec<String>, String> {
    Ok(commands(&list.replace('\n', " "))?
        .into_iter()
        .flatten()
        .collect())
}

struct Reader {
    rest: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    /// Goes on, at most to the end.
    fn skip(&mut self, count: usize) {
        self.at = (self.at + count).min(self.rest.len());
    }

    fn fault(&self, from: usize, what: &str) -> String {
        let line = self.rest[..from].iter().filter(|c| **c == '\n').count() + 1;
        format!("line {line}: {what}")
    }

    /// The next command, empty for a comment or nothing; none at the end.
    fn command(&mut self) -> Result<Option<Command>, String> {
        while self.peek().is_some_and(|c| c.is_whitespace() || c == ';') {
            self.at += 1;
        }
        match self.peek() {
            None => return Ok(None),
            Some('#') => {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
                return Ok(Some(Vec::new()));
            }
            Some(_) => {}
        }
        let mut words = Vec::new();
        loop {
            while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
                self.at += 1;
            }
            match self.peek() {
                None | Some('\n' | ';') => return Ok(Some(words)),
                Some(_) => words.push(self.word()?),
            }
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let from = self.at;
        match self.peek() {
            Some('{') => self.braces()?,
            Some('"') => self.quotes()?,
            _ => {
                self.bare()?;
                return Ok(self.rest[from..self.at].iter().collect());
            }
        }
        match self.peek() {
            None | Some(' ' | '\t' | '\n' | ';') => {}
            Some(_) => {
                return Err(self.fault(
                    self.at,
                    "characters after a brace or quote that ends a word",
                ));
            }
        }
        Ok(self.rest[from + 1..self.at - 1].iter().collect())
    }

    /// From an opening brace behind its closing one.
    fn braces(&mut self) -> Result<(), String> {
        let from = self.at;
        let mut depth = 0;
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '\\' => self.skip(1),
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.fault(from, "a brace is not closed"))
    }

    fn quotes(&mut self) -> Result<(), String> {
        let from = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            match c {
                '\\' => self.skip(2),
                '[' => self.brackets()?,
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        Err(self.fault(from, "a quote is not closed"))
    }

    /// From an opening bracket behind its closing one: a command, or several.
    fn brackets(&mut self) -> Result<(), String> {
        let from = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            match c {
                '\\' => self.skip(2),
                '[' => self.brackets()?,
                '{' => self.braces()?,
                '"' => self.quotes()?,
                ']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        Err(self.fault(from, "a bracket is not closed"))
    }

    fn bare(&mut self) -> Result<(), String> {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | ';' => return Ok(()),
                '\\' => self.skip(2),
                '[' => self.brackets()?,
                ']' => return Err(self.fault(self.at, "a bracket closes that was not opened")),
                '}' => return Err(self.fault(self.at, "a brace closes that was not opened")),
                '$' if self.rest.get(self.at + 1) == Some(&'{') => {
                    self.at += 1;
                    self.braces()?;
                }
                _ => self.at += 1,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_tcls_rules() {
        let script = "# a {comment\nset a [list {x y} \"b c\"]; puts \"$a [f {]}]\"\nif {$a} {\n  b\n}\nc \\\n  d\n";
        let all = commands(script).unwrap();
        let wanted: [&[&str]; 5] = [
            &["set", "a", "[list {x y} \"b c\"]"],
            &["puts", "$a [f {]}]"],
            &["if", "$a", "\n  b\n"],
            &["c", "d"],
            &[],
        ];
        assert_eq!(all, wanted[..4]);
        assert_eq!(words("a {b c}\n  d").unwrap(), ["a", "b c", "d"]);
    }

    #[test]
    fn what_does_not_end_is_found_at_its_line() {
        for (script, wanted) in [
            ("a\nb {", "line 2: a brace is not closed"),
            ("a [b", "line 1: a bracket is not closed"),
            ("a \"b", "line 1: a quote is not closed"),
            ("a\n\nb ]", "line 3: a bracket closes that was not opened"),
            ("a }", "line 1: a brace closes that was not opened"),
            (
                "a {b}c",
                "line 1: characters after a brace or quote that ends a word",
            ),
            ("a [b {]", "line 1: a brace is not closed"),
        ] {
            assert_eq!(commands(script), Err(wanted.to_owned()), "{script}");
        }
    }
}
