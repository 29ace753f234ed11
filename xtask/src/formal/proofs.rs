//! The list of proofs: `tests/formal/proofs.toml`.

use anyhow::{Context, Result, bail, ensure};
use lampyris_flow::formal::Method;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The list's place in the project.
pub(crate) const LIST: &str = "tests/formal/proofs.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    proof: Vec<Proof>,
}

/// A harness with the design in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// Top module; its file lies beside the list.
    pub(crate) name: String,
    /// The design's files below `rtl/`, packages first.
    pub(crate) sources: Vec<String>,
    /// Modules beside the list that the harness uses.
    #[serde(default)]
    pub(crate) helpers: Vec<String>,
    /// Checks so many clocks instead of all.
    clocks: Option<u32>,
    /// Unites registers that always hold the same before the proof.
    #[serde(default)]
    merge: bool,
    /// Errors that the proof must find.
    pub(crate) mutant: Vec<Mutant>,
}

/// A change of one place that makes a design wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// One of the proof's sources.
    pub(crate) file: String,
    /// Text that occurs once in it.
    pub(crate) text: String,
    /// What stands there instead.
    pub(crate) replacement: String,
}

impl Proof {
    /// How it is proven.
    pub(crate) fn method(&self) -> Method {
        match self.clocks {
            Some(clocks) => Method::Bounded(clocks),
            None => Method::Unbounded { merge: self.merge },
        }
    }
}

impl Mutant {
    /// The changed text of the file.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        let places = text.matches(&self.text).count();
        ensure!(
            places == 1,
            "a mutation's text occurs {places} times in rtl/{}, wanted once: `{}`\n\nhint: the \
             design changed; give the mutation in {LIST} a text that occurs once",
            self.file,
            self.text
        );
        Ok(text.replacen(&self.text, &self.replacement, 1))
    }
}

/// Reads the list.
pub(crate) fn read(root: &Path) -> Result<Vec<Proof>> {
    let path = root.join(LIST);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Proof>> {
    let list: List = toml::from_str(text)
        .with_context(|| format!("{LIST} does not read\n\nhint: docs/formal.md shows an entry"))?;
    let mut names = BTreeSet::new();
    for proof in &list.proof {
        ensure!(
            names.insert(&proof.name),
            "{LIST}: two proofs are called `{0}`\n\nhint: rename one",
            proof.name
        );
        ensure!(
            !proof.mutant.is_empty(),
            "{LIST}: `{}` has no mutant\n\nhint: add an error that the proof must find",
            proof.name
        );
        if let Some(mutant) = proof
            .mutant
            .iter()
            .find(|m| !proof.sources.contains(&m.file))
        {
            bail!(
                "{LIST}: a mutant of `{}` changes `{}`, which is not among its sources\n\nhint: \
                 name one of them",
                proof.name,
                mutant.file
            );
        }
    }
    Ok(list.proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(text: &str) -> Mutant {
        Mutant {
            file: "a.sv".into(),
            text: text.into(),
            replacement: "y".into(),
        }
    }

    #[test]
    fn a_mutation_has_one_place() {
        assert_eq!(mutant("x").apply("a x b").unwrap(), "a y b");
        for text in ["a b", "x x"] {
            let error = mutant("x").apply(text).unwrap_err().to_string();
            assert!(
                error.contains("wanted once") && error.contains("hint:"),
                "{error}"
            );
        }
    }

    #[test]
    fn lists_with_mistakes_are_refused() {
        let proof = "[[proof]]\nname = \"p\"\nsources = [\"a.sv\"]\n";
        let good = "[[proof.mutant]]\nfile = \"a.sv\"\ntext = \"x\"\nreplacement = \"y\"\n";
        assert_eq!(parse(&format!("{proof}{good}")).unwrap().len(), 1);
        for (text, wanted) in [
            (format!("{proof}{good}{proof}{good}"), "two proofs"),
            (format!("{proof}mutant = []"), "no mutant"),
            (format!("{proof}{}", good.replace("a.sv", "b.sv")), "`b.sv`"),
            ("proof = 1".to_owned(), "does not read"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(wanted) && error.contains("hint:"), "{error}");
        }
    }

    #[test]
    fn every_mutation_of_the_project_has_its_place() {
        let root = crate::root().unwrap();
        for proof in read(&root).unwrap() {
            for mutant in &proof.mutant {
                let text = fs::read_to_string(root.join("rtl").join(&mutant.file)).unwrap();
                mutant.apply(&text).unwrap();
            }
        }
    }
}
